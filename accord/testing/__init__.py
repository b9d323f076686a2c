"""Shipped on purpose: tiny models and checks that tests of Accord and of its plug-ins share."""
