"""The slope of the planets, with pandas."""

import json

import numpy as np
import pandas as pd

planets = pd.read_csv("results/sorted.csv")
slope, _ = np.polyfit(np.log(planets["size_au"]), np.log(planets["period_years"]), 1)
planets["ratio"] = planets["period_years"] ** 2 / planets["size_au"] ** 3
planets.to_parquet("results/planets.parquet")
with open("results/metrics.json", "w") as file:
    json.dump({"slope": slope, "largest_error": abs(planets["ratio"] - 1).max()}, file)
print(f"planets: slope {slope:.4f}")
