"""What every room uses: checks, files, seeds, devices, modes, provenance."""
