"""What a run is, as frozen data: one tree of models that forbids unknown keys.

A field that holds one of several variants is a *slot*: a table with a `kind`, whose class comes from the
registry. The class itself lives with its variant on floor 1; this file knows the slots, not the variants.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from bytegolf import registry
from bytegolf.config.adaptation import Adaptation, LoraAdaptation, NoAdaptation

Role = Literal["embed", "table", "matrix", "head", "gate", "scalar"]
ROLES: tuple[Role, ...] = ("embed", "table", "matrix", "head", "gate", "scalar")

# Three ways to say how long training lasts; a run has exactly one.
BUDGETS = ("seconds", "steps", "tokens")


class Frozen(BaseModel):
    """A table of the config: immutable, every key known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Variant(Frozen):
    """A table that fills a slot. `kind` names the variant in the registry."""

    kind: str


class SlotMarker:
    """Turns a table with a `kind` into the registered class of a slot."""

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind = value.get("kind")
        if kind not in registry.names(self.slot):
            known = ", ".join(registry.names(self.slot))
            raise ValueError(f"the slot {self.slot} needs a known kind, got {kind!r}; known: {known}")
        return registry.lookup(self.slot, kind).model_validate(value)


def _slot(name: str) -> Any:
    return Annotated[SerializeAsAny[Variant], SlotMarker(name), BeforeValidator(SlotMarker(name))]


class Embed(Frozen):
    """Token embedding: `init_std` of its normal initialisation, and the mixers that enrich it, in order."""

    init_std: float = Field(0.005, gt=0)
    mixers: tuple[_slot("mixer"), ...] = ()  # type: ignore[valid-type]


class UniformFanIn(Frozen):
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), what torch's nn.Linear does."""

    kind: Literal["uniform_fan_in"]


class Orthogonal(Frozen):
    """Orthogonal rows or columns (Saxe et al. 2014) times `gain`; "1/sqrt(dim)" follows the width of the model."""

    kind: Literal["orthogonal"]
    gain: Annotated[float, Field(gt=0)] | Literal["1/sqrt(dim)"] = 1.0


MatrixInit = Annotated[UniformFanIn | Orthogonal, Field(discriminator="kind")]


class Model(Frozen):
    """The network: sizes and the five slots.

    vocab_size: entries of the tokenizer. bos_id: the token that starts every document.
    dim: width D. layers: physical layers L. context: training length T in tokens.
    matrix_init: how the matrices of the layers start; those that write to the residual stream start at zero.
    """

    vocab_size: int = Field(ge=2, le=65_536)
    bos_id: int = Field(0, ge=0)
    dim: int = Field(ge=2, le=65_536)
    layers: int = Field(ge=1, le=1024)
    context: int = Field(ge=2, le=1_048_576)
    matrix_init: MatrixInit = UniformFanIn(kind="uniform_fan_in")
    embed: Embed = Embed()
    attention: _slot("attention")  # type: ignore[valid-type]
    mlp: _slot("mlp")  # type: ignore[valid-type]
    plan: _slot("plan")  # type: ignore[valid-type]
    head: _slot("head")  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _check(self) -> Model:
        if self.bos_id >= self.vocab_size:
            raise ValueError(f"bos_id {self.bos_id} lies outside the vocabulary of {self.vocab_size}")
        for part in (*self.embed.mixers, self.attention, self.mlp, self.plan, self.head):
            part.check(self)
        return self


class Muon(Frozen):
    """Muon with decoupled weight decay (Jordan 2024): orthogonalised momentum, for 2-D tensors only.

    lr 0 freezes the role. momentum rises linearly from `momentum_start` over the first `momentum_warmup_steps`.
    """

    kind: Literal["muon"]
    lr: float = Field(ge=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.95, ge=0, lt=1)
    momentum_start: float = Field(0.85, ge=0, lt=1)
    momentum_warmup_steps: int = Field(300, ge=0)


Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Frozen):
    """AdamW (Loshchilov & Hutter 2019), bias-corrected, decoupled weight decay. lr 0 freezes the role."""

    kind: Literal["adamw"]
    lr: float = Field(ge=0)
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)


Optimizer = Annotated[Muon | AdamW, Field(discriminator="kind")]


class Trapezoid(Frozen):
    """Learning-rate multiplier over the progress p of the budget, 0 <= p <= 1.

    Rises linearly from 0 over `warmup`, stays 1, falls linearly to `floor` over the last `warmdown`.
    """

    kind: Literal["trapezoid"] = "trapezoid"
    warmup: float = Field(0.0, ge=0, lt=1)
    warmdown: float = Field(0.4, ge=0, le=1)
    floor: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Trapezoid:
        if self.warmup + self.warmdown > 1:
            raise ValueError(f"warmup {self.warmup} and warmdown {self.warmdown} may not overlap")
        return self


class WarmdownSteps(Frozen):
    """The schedule of the PG baseline: 1, then linearly to 0 over the last `steps` steps.

    Under a budget in seconds how many steps are left is judged by the mean time of those done; a run too short for
    `steps` steps then falls from its first step on.
    """

    kind: Literal["warmdown_steps"]
    steps: int = Field(ge=1)


def _trapezoid_by_default(value: Any) -> Any:
    return {"kind": "trapezoid", **value} if isinstance(value, dict) else value


Schedule = Annotated[
    Trapezoid | WarmdownSteps, Field(discriminator="kind"), BeforeValidator(_trapezoid_by_default)
]


class NoAveraging(Frozen):
    """The weights of the last step are the result."""

    kind: Literal["none"]


class Ema(Frozen):
    """Exponential moving average: avg <- decay * avg + (1 - decay) * w after each step, from w of the first."""

    kind: Literal["ema"]
    decay: float = Field(gt=0, lt=1)


class Swa(Frozen):
    """Stochastic weight averaging (Izmailov et al. 2018) as in PR 162: the mean of snapshots of the weights.

    A snapshot is taken after every step whose number, counted from 1, is a multiple of `every` and whose
    learning-rate multiplier was below `below`. The mean is kept in float32. One snapshot is no average: then the
    last weights count.
    """

    kind: Literal["swa"]
    below: float = Field(gt=0, le=1)
    every: int = Field(ge=1)


Averaging = Annotated[NoAveraging | Ema | Swa, Field(discriminator="kind")]


class Validation(Frozen):
    """Scores of held-out text along the run, after every `every` steps, beside the clock.

    tokens: of the held-out split from its start on, rounded up to whole documents; 0 = all. Without overlap.
    """

    every: int = Field(ge=1)
    tokens: int = Field(1 << 20, ge=0)


class Train(Frozen):
    """One training run. Exactly one of `seconds`, `steps`, `tokens` is the budget.

    rows: sequences a step, so a step is rows * model.context tokens. micro_rows: how many of them go through the
    network at a time (0 = all); it divides rows and changes memory, not the result. microbatch_tokens: the same as
    a bound on tokens, for whole rows (0 = none); where both are set the smaller number of rows counts.
    order: which tokens each step takes, as in data.loader: "shuffled", "strided" (for data of any size) or
    "published" (as they come). optimizers: one optimizer per role of the manifest. clip: global L2 norm of the
    gradient, 0 = off. precision: `auto` lets a short probe choose. compile: torch.compile; `auto` on CUDA alone.
    compile_warmup_steps: whole steps before the clock starts, undone afterwards, so that compiling costs no
    training time; where nothing is compiled and the device is no GPU there are none. validation: none by default.
    """

    seconds: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)
    rows: int = Field(ge=1)
    micro_rows: int = Field(0, ge=0)
    microbatch_tokens: int = Field(0, ge=0)
    order: Literal["shuffled", "strided", "published"] = "shuffled"
    seed: int = Field(1337, ge=0, lt=1 << 64)
    optimizers: dict[Role, Optimizer]
    schedule: Schedule = Trapezoid()
    averaging: Averaging = NoAveraging(kind="none")
    clip: float = Field(0.0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    compile_warmup_steps: int = Field(3, ge=0)
    validation: Validation | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> Train:
        if sum(getattr(self, key) is not None for key in BUDGETS) != 1:
            raise ValueError("exactly one of seconds, steps, tokens must be set")
        if self.micro_rows and self.rows % self.micro_rows:
            raise ValueError(f"micro_rows {self.micro_rows} must divide rows {self.rows}")
        return self

    def rows_at_a_time(self, rows: int, context: int) -> int:
        """How many of the `rows` rows of a step, of `context` tokens each, go through the network together."""
        bounds = (self.micro_rows, self.microbatch_tokens // context)
        return min([rows, *(bound for bound in bounds if bound)])


CODECS: dict[Role, str] = {
    "embed": "int8",
    "table": "int8",
    "matrix": "int6",
    "head": "int8",
    "gate": "fp16",
    "scalar": "fp16",
}


class CodecOverride(Frozen):
    """Another codec for one part of the layers, counted and named by the manifest.

    part: a slot ("mlp": its matrices) or one tensor of it ("attention.k"). layer: negative counts from the last
    (-1); unset means every layer. Of several overrides that name a tensor the last one counts.
    """

    part: str
    layer: int | None = None
    codec: str


class Prune(Frozen):
    """Magnitude pruning before packing: the smallest `share` of each matrix larger than `above` becomes zero."""

    share: float = Field(gt=0, lt=1)
    above: int = Field(65_536, ge=0)


class Pack(Frozen):
    """How weights become bytes: a codec per role, and the bytes the whole artifact may have (0 = no limit)."""

    budget: int = Field(0, ge=0)
    codecs: dict[Role, str] = CODECS
    overrides: tuple[CodecOverride, ...] = ()
    prune: Prune | None = None

    @field_validator("codecs", mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """A role that is not named keeps its codec."""
        return CODECS | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _known(self) -> Pack:
        named = {f"role {role}": codec for role, codec in self.codecs.items()}
        named |= {f"overrides.{i}": override.codec for i, override in enumerate(self.overrides)}
        for where, codec in named.items():
            if codec not in registry.VARIANTS["codec"]:
                known = ", ".join(registry.names("codec"))
                raise ValueError(f"unknown codec {codec!r} for {where}; known: {known}")
        return self


class Score(Frozen):
    """Sliding window: each target sees at most `context` tokens (0 = model.context); windows move by `stride`.

    documents: "stream" reads the text as one stream, so that a target sees earlier documents too; "isolated" ends
    every window at the start of its document. The context may be longer than that of training.
    """

    context: int = Field(0, ge=0)
    stride: int = Field(ge=1)
    documents: Literal["stream", "isolated"] = "stream"
    adaptation: Adaptation = NoAdaptation(kind="none")

    @model_validator(mode="after")
    def _lora_is_per_document(self) -> Score:
        if isinstance(self.adaptation, LoraAdaptation) and self.documents != "isolated":
            raise ValueError('adaptation "lora" learns each document on its own: set documents = "isolated"')
        return self


class Config(Frozen):
    """A whole run: resolved from a preset or a TOML file plus overrides, and carried inside the artifact."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    about: str = ""
    model: Model
    train: Train
    pack: Pack = Pack()
    score: Score

    @property
    def resolved_score(self) -> Score:
        """`score`, where a context of 0 is replaced by that of the model."""
        return self.score.model_copy(update={"context": self.score.context or self.model.context})

    @model_validator(mode="after")
    def _stride_fits(self) -> Config:
        score = self.resolved_score
        if score.stride > score.context:
            raise ValueError(f"score.stride {score.stride} is larger than the context {score.context}")
        return self

    @model_validator(mode="after")
    def _a_row_fits(self) -> Config:
        tokens, context = self.train.microbatch_tokens, self.model.context
        if 0 < tokens < context:
            raise ValueError(f"train.microbatch_tokens {tokens} is less than one row of {context} tokens")
        return self
