"""What a recipe says of money: prices, and the limits at which a run stops. None of it is part of a
fingerprint.

`prices` turn hours and tokens into a cost (docs/costs.md); `budget` holds a run to hard limits over all its
starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from raysft.stage import StrictModel

MILLION = 1_000_000


class TokenPrices(StrictModel):
    """What an engine's tokens cost where someone else's server is paid by the token."""

    input_million_tokens: float = Field(0.0, ge=0, description="price of a million prompt tokens; 0 if unset")
    output_million_tokens: float = Field(
        0.0, ge=0, description="price of a million generated tokens; 0 if unset"
    )


class Prices(StrictModel):
    """Prices in one currency. What has no price costs nothing here, and is still counted."""

    gpu_hour: float = Field(
        0.0, ge=0, description="price of one GPU reserved for an hour; your provider's list; 0 if unset"
    )
    cpu_hour: float = Field(
        0.0, ge=0, description="price of one logical CPU reserved for an hour; 0 if unset"
    )
    currency: str = Field(
        "USD",
        pattern=r"^[A-Z]{3}$",
        description="three capital letters, such as EUR, to print with a cost; USD if unset",
    )
    engines: Mapping[str, TokenPrices] = Field(
        default_factory=dict, description="engine of this recipe → prices of its tokens; none if unset"
    )

    @property
    def is_free(self) -> bool:
        """Whether nothing has a price."""
        paid = [
            p for one in self.engines.values() for p in (one.input_million_tokens, one.output_million_tokens)
        ]
        return not any((self.gpu_hour, self.cpu_hour, *paid))

    def cost(
        self,
        gpu_hours: float = 0.0,
        cpu_hours: float = 0.0,
        engine: str | None = None,
        tokens_in: float = 0.0,
        tokens_out: float = 0.0,
    ) -> float:
        """What so much costs, in `currency`."""
        tokens = self.engines.get(engine or "", TokenPrices())
        read = tokens_in * tokens.input_million_tokens
        written = tokens_out * tokens.output_million_tokens
        return gpu_hours * self.gpu_hour + cpu_hours * self.cpu_hour + (read + written) / MILLION


class Budget(StrictModel):
    """Limits of a run, all its starts added up. A run that reaches one stops; raised, it goes on."""

    tokens: int | None = Field(
        None,
        ge=1,
        description="tokens that engines read and wrote; training's are not among them; none if unset",
    )
    gpu_hours: float | None = Field(
        None, gt=0, description="hours times GPUs reserved by engines and training; none if unset"
    )
    cost: float | None = Field(None, gt=0, description="by `prices`, in its currency; none if unset")
    hours: float | None = Field(
        None, gt=0, description="hours that the run's driver was at work; none if unset"
    )

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return any(value is not None for value in self.model_dump().values())


NO_PRICES = Prices()
NO_BUDGET = Budget()
