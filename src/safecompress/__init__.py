"""SafeCompress: train a small sparse classifier that passes its membership-inference tests, and keep the evidence."""

__version__ = "0.1.0.dev0"
