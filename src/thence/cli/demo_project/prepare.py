"""Write the data set as a CSV file, as if it had come from a laboratory."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main() -> None:
    """Write data/biopsies.csv."""
    table = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "benign"})
    table.columns = [name.replace(" ", "_") for name in table.columns]
    Path("data").mkdir(exist_ok=True)
    table.to_csv("data/biopsies.csv", index_label="biopsy")
    print(f"{len(table)} biopsies, {len(table.columns) - 1} measurements each")


if __name__ == "__main__":
    main()
