"""The twin of `on_torch` for Apple Silicon: the same models, weights files and artifacts, on MLX.

Raises ConfigError when the library is not there.
"""

from bytegolf.errors import ConfigError

try:
    import mlx.core as _core  # noqa: F401
except ImportError as error:
    raise ConfigError(
        "the backend mlx needs the library mlx",
        got=str(error),
        where="--backend",
        fix='pip install "bytegolf[mlx]", or --backend torch',
    ) from error
