"""Host keys: collected over the network or from this machine, verified, provisioned."""
