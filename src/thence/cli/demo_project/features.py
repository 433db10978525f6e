"""What the model is told about a biopsy, besides the measurements themselves."""

import pandas as pd


def add_features(table: pd.DataFrame) -> pd.DataFrame:
    """How much larger the largest nuclei are than the mean ones, and how ragged they are."""
    return table.assign(
        radius_ratio=table["worst_radius"] / table["mean_radius"],
        raggedness=table["mean_perimeter"] ** 2 / table["mean_area"],
    )
