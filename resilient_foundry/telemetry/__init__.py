"""What calls tell OpenTelemetry: names, spans, events and metrics. What is told is decided by `policies.tracing`."""
