"""The slope of the moons of each planet, with polars."""

import polars as pl

moons = pl.read_csv("moons.csv").with_columns(
    x=pl.col("size_km").log(), y=pl.col("period_days").log()
)
slopes = (
    moons.group_by("planet")
    .agg(slope=pl.cov("x", "y") / pl.col("x").var(), moons=pl.len())
    .sort("planet")
)
slopes.write_csv("results/moons.csv")
print(slopes)
