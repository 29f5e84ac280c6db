"""How a view is drawn from an image. Ranges follow torchvision's transforms of the same names."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model, model_validator

from ssl_core.spec.base import Config

Probability = float


class ViewConfig(Config):
    """One distribution of views: random resized crop, affine, colour, blur, solarise, in that order."""

    crop_scale: tuple[float, float] = Field((0.2, 1.0), description="Area of the crop, as a share of the image.")
    crop_ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="Width over height of the crop.")
    flip: Probability = Field(0.5, ge=0, le=1, description="Probability of a horizontal flip.")
    vertical_flip: Probability = Field(0.0, ge=0, le=1, description="Probability of a vertical flip (microscopy, satellites).")
    degrees: float = Field(0.0, ge=0, le=180, description="Rotation, uniform in ±degrees.")
    translate: float = Field(0.0, ge=0, le=0.5, description="Shift, uniform in ± this share of the side.")
    shear: float = Field(0.0, ge=0, le=45, description="Shear, uniform in ±degrees.")
    jitter: Probability = Field(0.8, ge=0, le=1, description="Probability of the colour jitter.")
    brightness: float = Field(0.4, ge=0, le=1)
    contrast: float = Field(0.4, ge=0, le=1)
    saturation: float = Field(0.4, ge=0, le=1)
    hue: float = Field(0.1, ge=0, le=0.5)
    grayscale: Probability = Field(0.2, ge=0, le=1)
    blur: Probability = Field(0.5, ge=0, le=1, description="Probability of a Gaussian blur.")
    blur_sigma: tuple[float, float] = Field((0.1, 2.0), description="Range of the blur's standard deviation, in pixels.")
    solarize: Probability = Field(0.0, ge=0, le=1, description="Probability of inverting the values of 0.5 and above.")

    @model_validator(mode="after")
    def _ordered(self) -> ViewConfig:
        for name, low, high in (("crop_scale", 0.0, 1.0), ("crop_ratio", 0.0, 10.0), ("blur_sigma", 0.0, 100.0)):
            a, b = getattr(self, name)
            if not low < a <= b <= high:
                raise ValueError(f"{name} = [{a}, {b}] must satisfy {low:g} < low <= high <= {high:g}")
        return self


def _optional(model: type[Config]) -> dict[str, Any]:
    return {
        name: (field.annotation | None, Field(None, description=field.description))  # type: ignore[operator]
        for name, field in model.model_fields.items()
    }


ViewOverrides = create_model(  # every field of ViewConfig, none of them required
    "ViewOverrides", __base__=Config, __doc__="Fields of a view that differ from the first view's.", **_optional(ViewConfig)
)


class AugmentConfig(ViewConfig):
    """The first view, and what is different in the second one (BYOL's asymmetric pair)."""

    second_view: ViewOverrides = Field(default_factory=ViewOverrides)

    @model_validator(mode="after")
    def _second_is_valid(self) -> AugmentConfig:
        self.views()
        return self

    def views(self) -> tuple[ViewConfig, ViewConfig]:
        """The two distributions, complete."""
        first = {name: getattr(self, name) for name in ViewConfig.model_fields}
        changes = self.second_view.model_dump(exclude_none=True)
        return ViewConfig(**first), ViewConfig(**{**first, **changes})
