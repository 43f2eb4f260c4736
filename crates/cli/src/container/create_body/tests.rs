//! What `run`'s flags become, against what docker's own command line sends for them.
