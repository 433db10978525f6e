"""What a run was made from: small probes, none of which can break the run."""
