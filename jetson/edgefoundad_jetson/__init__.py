"""The device: capture → infer → decide → act. Runs on any Linux machine; never imports torch."""
