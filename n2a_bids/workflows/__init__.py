"""Nipype workflows: small builders, each given only its part of the configuration."""
