"""Ready-made tests of a deployment: ``pytest --pyargs pytest_tlsandbox.checks --tlsandbox ID``."""
