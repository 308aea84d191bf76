"""What the service runs: from the bundle's self-test to READY, a proof, and the report."""
