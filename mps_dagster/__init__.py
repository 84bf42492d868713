"""mps_dagster: a media processing service on Dagster."""
