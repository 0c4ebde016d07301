"""What every phase shares: measurement, hardware facts, vision, the model zoo. Imports no phase."""
