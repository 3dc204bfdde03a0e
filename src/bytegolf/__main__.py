"""`python -m bytegolf`."""

import sys

from bytegolf.cli.app import main

sys.exit(main())
