"""Learn to tell benign from malignant biopsies, and write down how well that works."""

import json
import time
from pathlib import Path

print("loading pandas", flush=True)
import pandas as pd
import yaml
from features import add_features

print("loading scikit-learn", flush=True)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay, accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

print("loading matplotlib and skops", flush=True)
import matplotlib as mpl
import skops.io

RESULTS = Path("results")


def main() -> None:
    """Train, evaluate and write everything to results/."""
    mpl.use("Agg")
    params = yaml.safe_load(Path("params.yaml").read_text())
    table = add_features(pd.read_csv("data/biopsies.csv", index_col="biopsy"))
    features, benign = table.drop(columns="benign"), table["benign"]
    learn_x, test_x, learn_y, test_y = train_test_split(
        features,
        benign,
        test_size=params["test_share"],
        random_state=params["seed"],
        stratify=benign,
    )

    started = time.perf_counter()
    folds = StratifiedKFold(params["folds"], shuffle=True, random_state=params["seed"])
    scores = []
    for number, (learn, check) in enumerate(folds.split(learn_x, learn_y), start=1):
        model = make_model(params)
        model.fit(learn_x.iloc[learn], learn_y.iloc[learn])
        chance = model.predict_proba(learn_x.iloc[check])[:, 1]
        scores.append(roc_auc_score(learn_y.iloc[check], chance))
        print(f"fold {number} of {params['folds']}: auc {scores[-1]:.4f}", flush=True)
    model = make_model(params).fit(learn_x, learn_y)
    fit_seconds = time.perf_counter() - started

    chance = model.predict_proba(test_x)[:, 1]
    metrics = {
        "accuracy": accuracy_score(test_y, chance > 0.5),
        "auc": roc_auc_score(test_y, chance),
        "log_loss": log_loss(test_y, chance),
        "auc_of_folds": sum(scores) / len(scores),
        "fit_seconds": fit_seconds,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    predictions = pd.DataFrame({"benign": test_y, "chance": chance}).sort_index()
    predictions.to_csv(RESULTS / "predictions.csv")
    skops.io.dump(model, RESULTS / "model.skops")
    figure = RocCurveDisplay.from_predictions(test_y, chance).figure_
    figure.savefig(RESULTS / "roc.png", dpi=100)
    print(f"accuracy {metrics['accuracy']:.3f}, auc {metrics['auc']:.4f}", flush=True)


def make_model(params):
    """The model that params.yaml describes."""
    return make_pipeline(StandardScaler(), LogisticRegression(**params["model"]))


if __name__ == "__main__":
    main()
