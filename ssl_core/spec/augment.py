"""How a view is drawn from an image. Ranges follow torchvision's transforms of the same names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.base import Config, ValidationError

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
    brightness: float = Field(0.4, ge=0, le=1, description="Values are multiplied by 1 ± so much.")
    contrast: float = Field(0.4, ge=0, le=1, description="Distances from the mean luma are multiplied by 1 ± so much.")
    saturation: float = Field(0.4, ge=0, le=1, description="Distances from gray are multiplied by 1 ± so much.")
    hue: float = Field(0.1, ge=0, le=0.5, description="Turned by ± so much of the circle of colours.")
    grayscale: Probability = Field(0.2, ge=0, le=1, description="Probability of a view without colours.")
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


class LocalViewsConfig(ViewOverrides):
    """Multi-crop (SwAV: Caron et al. 2020, arXiv:2006.09882): more views, smaller ones of small parts of the image.

    Their other fields are what is different from the first view, as in second_view.
    """

    count: int = Field(0, ge=0, le=16, description="Local views of each image, besides the two global ones.")
    size: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="Side of their square, in pixels. Default: 96 for views of 224 px, in proportion for others, "
        "to the nearest multiple of 8, or of the side of a vision transformer's patches.",
    )
    crop_scale: tuple[float, float] = Field(
        (0.05, 0.2), description="Area of the crop, as a share of the image: by default what the global views leave out."
    )

    def side(self, size: int, multiple: int = 8) -> int:
        """Side of the local views in pixels, where the global ones have `size`; by default a multiple of `multiple`."""
        return self.size or max(multiple, multiple * round(size * 96 / 224 / multiple))


_Section = Literal["second_view", "local_views"]
_SECTIONS: tuple[_Section, ...] = ("second_view", "local_views")


class AugmentConfig(ViewConfig):
    """The first view, what is different in the second one (BYOL's asymmetric pair), and local views besides the two."""

    second_view: ViewOverrides = Field(default_factory=ViewOverrides)
    local_views: LocalViewsConfig = Field(default_factory=LocalViewsConfig)

    @model_validator(mode="after")
    def _others_are_valid(self) -> AugmentConfig:
        for name in _SECTIONS:
            try:
                self._as_first_but(name)
            except ValidationError as error:
                wrong = error.errors(include_url=False)[0]
                at = "/".join([name, *(str(part) for part in wrong["loc"])])
                why = wrong["msg"].removeprefix("Value error, ")
                got = "" if isinstance(wrong["input"], dict) else f" (got {wrong['input']!r})"
                raise PydanticCustomError(
                    "view", "{name}: {why}{got}", {"name": name, "why": why, "got": got, "at": at}
                ) from None
        return self

    def views(self) -> tuple[ViewConfig, ...]:
        """The distributions, complete: of the first view, the second, and as many local views as there are."""
        first = ViewConfig(**{name: getattr(self, name) for name in ViewConfig.model_fields})
        return first, self._as_first_but("second_view"), *[self._as_first_but("local_views")] * self.local_views.count

    def _as_first_but(self, name: _Section) -> ViewConfig:
        """The first view with the fields that the section `name` gives."""
        given = getattr(self, name).model_dump(exclude_none=True)
        return ViewConfig(**{field: given.get(field, getattr(self, field)) for field in ViewConfig.model_fields})
