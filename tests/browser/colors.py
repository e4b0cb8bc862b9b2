"""The contrast of two colors, as WCAG 2.2 defines it."""


def luminance(color):
    """Return the relative luminance of a color as WCAG 2.2 defines it."""
    parts = [part / 255 for part in color[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
