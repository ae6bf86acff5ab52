use super::*;

fn tried(variables: &[(&str, &str)]) -> Result<Resolved, Unusable> {
    let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Resolved::from("planner", None, variable)
}

fn resolved(variables: &[(&str, &str)]) -> Resolved {
    tried(variables).unwrap()
}

#[test]
fn nothing_set_means_a_local_collector() {
    let plain = resolved(&[]);
    assert_eq!(plain.endpoint(), Some("http://localhost:4317"));
    assert_eq!(plain.to_string(), "traces and metrics go to http://localhost:4317 (OTLP over gRPC), service planner");
    assert_eq!(plain.propagators, [Propagation::TraceContext, Propagation::Baggage]);
}

#[test]
fn the_endpoint_of_traces_goes_first_and_a_scheme_may_be_left_out() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317");
    assert_eq!(resolved(&[general]).endpoint(), Some("http://a:4317"));
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "b:4317");
    assert_eq!(resolved(&[general, traces]).endpoint(), Some("http://b:4317"));
    let metrics = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m:1");
    let both = resolved(&[general, metrics]);
    assert_eq!((both.endpoint(), both.metrics_endpoint()), (Some("http://a:4317"), Some("https://m:1")));
    assert!(both.to_string().starts_with("traces go to http://a:4317, metrics to https://m:1 ("), "{both}");
    assert_eq!(resolved(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).endpoint(), Some("http://localhost:4317"));
    let given =
        Resolved::from("planner", Some("c:1"), |name| (name == general.0).then(|| general.1.to_owned())).unwrap();
    assert_eq!(given.endpoint(), Some("http://c:1"));
}

#[test]
fn by_http_the_general_endpoint_is_where_the_paths_begin() {
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let plain = resolved(&[http]);
    assert_eq!(plain.endpoint(), Some("http://localhost:4318/v1/traces"));
    assert_eq!(
        plain.to_string(),
        "traces go to http://localhost:4318/v1/traces, metrics to http://localhost:4318/v1/metrics (OTLP over HTTP), \
         service planner"
    );
    let general = resolved(&[http, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a/otlp/")]);
    assert_eq!(general.metrics_endpoint(), Some("https://a/otlp/v1/metrics"));
    // That of one signal is taken as it is.
    let prometheus = "http://127.0.0.1:9090/api/v1/otlp/v1/metrics";
    let mixed = resolved(&[
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", prometheus),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"),
    ]);
    assert_eq!((mixed.endpoint(), mixed.metrics_endpoint()), (Some("http://a:4317"), Some(prometheus)));
    assert_eq!(
        mixed.to_string(),
        format!(
            "traces go to http://a:4317 (OTLP over gRPC), metrics to {prometheus} (OTLP over HTTP), service planner"
        )
    );
    let given = Resolved::from("p", Some("c:1"), |name| (name == http.0).then(|| http.1.to_owned())).unwrap();
    assert_eq!(given.endpoint(), Some("http://c:1/v1/traces"));
}

#[test]
fn what_is_set_is_shown_but_no_secret() {
    let all = resolved(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "me.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "me.key"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret,tenant=a,s3cret2"),
    ]);
    assert_eq!(
        all.to_string(),
        "traces and metrics go to https://collector:4317 (OTLP over gRPC, gzip, at most 2500 ms, headers api-key tenant, \
         trusts ca.pem, shows me.pem), service planner; \
         OTEL_EXPORTER_OTLP_HEADERS: entry 3 is not of the form key=value, and is left out"
    );
    assert!(all.traces.unwrap().is_secure(), "certificates mean TLS");
    assert_eq!(
        resolved(&[("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0")]).notes,
        ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=0 would lose everything: 10000 is used"]
    );
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "false");
    let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "a:1");
    assert_eq!(resolved(&[insecure, address]).endpoint(), Some("https://a:1"));
    assert_eq!(resolved(&[("OTEL_EXPORTER_OTLP_INSECURE", "true"), address]).endpoint(), Some("http://a:1"));
    let plain =
        resolved(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1")]);
    let notes: Vec<&str> = plain.notes().collect();
    assert_eq!(notes, ["OTEL_EXPORTER_OTLP_CERTIFICATE is not used: http://a:1 is plaintext (https:// works)"]);
    assert_eq!(plain.traces.unwrap().trusted, None);
}

#[test]
fn it_can_be_switched_off_and_says_by_what() {
    let off = resolved(&[("OTEL_SDK_DISABLED", "TRUE")]);
    assert_eq!(off.endpoint(), None);
    assert_eq!(off.to_string(), "nothing is exported, service planner; OTEL_SDK_DISABLED=true");
    assert_eq!(off.metrics_endpoint(), None);
    let metrics_only = resolved(&[("OTEL_TRACES_EXPORTER", "none")]);
    assert_eq!(metrics_only.endpoint(), None);
    assert_eq!(
        metrics_only.to_string(),
        "metrics go to http://localhost:4317 (OTLP over gRPC), service planner; OTEL_TRACES_EXPORTER=none"
    );
    assert_eq!(resolved(&[("OTEL_METRICS_EXPORTER", "none")]).metrics_endpoint(), None);
    let unclear = resolved(&[("OTEL_SDK_DISABLED", "no")]);
    assert!(unclear.endpoint().is_some());
    assert_eq!(unclear.notes, ["OTEL_SDK_DISABLED=no is neither true nor false: it is left out"]);
}

#[test]
fn what_cannot_be_had_is_said_with_what_can() {
    let odd = resolved(&[
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "none"),
        ("OTEL_PROPAGATORS", "b3,tracecontext"),
        ("OTEL_SERVICE_NAME", "other"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5s"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ]);
    assert_eq!(odd.propagators, [Propagation::TraceContext]);
    assert_eq!(
        odd.to_string(),
        "traces and metrics go to http://localhost:4317 (OTLP over gRPC), service other, traces every 200 ms; \
         OTEL_TRACES_EXPORTER=zipkin is not built in (otlp and none are): otlp is used; \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/json is not built in (grpc and http/protobuf are): grpc is used; \
         OTEL_EXPORTER_OTLP_TIMEOUT=10s is not a number of milliseconds: 10000 is used; \
         OTEL_EXPORTER_OTLP_COMPRESSION=zstd is not built in (gzip and none are): none is used; \
         OTEL_METRIC_EXPORT_INTERVAL=5s is not a number of milliseconds: 60000 is used; \
         OTEL_BSP_MAX_QUEUE_SIZE=many is not a number of spans: 2048 is used; \
         OTEL_TRACES_SAMPLER=xray is not built in (always_on, always_off, traceidratio and each with parentbased_ are): \
         parentbased_always_on is used; \
         OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=none is not known (cumulative, delta, lowmemory are): \
         cumulative is used; \
         OTEL_LOGS_EXPORTER=otlp is not built in: logs are left to tracing subscribers; \
         OTEL_PROPAGATORS: b3 is not built in (tracecontext, baggage and none are)"
    );
}

#[test]
fn the_commonest_mistake_is_named() {
    let hint = |endpoint: &str| resolved(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).notes.join("; ");
    assert_eq!(
        hint("http://a:4318"),
        "http://a:4318: 4318 is the port of OTLP over HTTP (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf works)"
    );
    assert!(hint("http://a:9090/api/v1/otlp").contains("gRPC has no use for a path"));
    assert_eq!(hint("http://a:4317/"), "");
    let chosen = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_eq!(resolved(&chosen).notes.len(), 0, "somebody knows better");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for (address, why) in [
        ("htp://a:1", "htp:// cannot be spoken"),
        ("http://", "is not an address"),
        ("http://a b", "is not an address"),
        ("http://:4317", "names no host"),
        ("http://a:port", "names no port behind its colon"),
        ("a:70000", "names no port behind its colon"),
    ] {
        let refused = tried(&[("OTEL_EXPORTER_OTLP_ENDPOINT", address)]).unwrap_err();
        assert_eq!((refused.name.as_str(), refused.value.as_str()), ("OTEL_EXPORTER_OTLP_ENDPOINT", address));
        assert_eq!(refused.reason, format!("{why}: http://HOST:PORT and https://HOST:PORT work"), "{address}");
    }
    let alone = tried(&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "k.pem")]).unwrap_err();
    assert_eq!(alone.reason, "works only together with OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
}
