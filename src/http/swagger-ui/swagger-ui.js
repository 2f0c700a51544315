// The page of this service has no use for this one: left out, for the program's size. See .cargo/config.toml.
