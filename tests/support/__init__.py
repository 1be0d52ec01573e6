"""Fakes, harnesses and builders that several folders of tests import."""
