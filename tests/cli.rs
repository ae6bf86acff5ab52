//! The tool, run as users run it.
