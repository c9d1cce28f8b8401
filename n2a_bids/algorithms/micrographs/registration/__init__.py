"""Steps of finding how micrograph exposures lie to each other."""
