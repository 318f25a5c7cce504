"""A network that lives on a page: exported once, it looks at pictures in the browser, without a kernel or a network."""

from .page import LivePage, bundled, described, live, network_script, script, style

__all__ = ["LivePage", "bundled", "described", "live", "network_script", "script", "style"]
