//! Who hears of the executions of a server: what is counted of them, a collector, webhooks. Hides which of them there are.

use std::sync::Arc;

use anyhow::anyhow;
use stepwell_engine::{Engine, Observer, Outbox};
use stepwell_server::{
    ExpressHistories, MachineMetrics, OtlpSettings, Sample, Telemetry, WebhookConfig, WebhookError,
    Webhooks,
};

use crate::args::{CompressionArg, ProtocolArg, TelemetryArgs};
use crate::connections::without_text;
use crate::exit::{Outcome, Stop};
use crate::given;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) machine_metrics: Option<Arc<MachineMetrics>>,
    pub(crate) express_histories: Option<Arc<ExpressHistories>>,
    telemetry: Option<Arc<Telemetry>>,
    webhooks: Option<Arc<Webhooks>>,
}

impl Listeners {
    /// Those that the arguments ask for.
    pub(crate) fn start(args: &TelemetryArgs) -> Outcome<Listeners> {
        Ok(Listeners {
            machine_metrics: Some(Arc::default()),
            express_histories: express_histories(args.express_history),
            telemetry: telemetry(args)?.map(Arc::new),
            webhooks: webhooks(args)?.map(Arc::new),
        })
    }

    pub(crate) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let metrics = self.machine_metrics.clone();
        let metrics = metrics.map(|metrics| metrics as Arc<dyn Observer>);
        let telemetry = self.telemetry.clone();
        let telemetry = telemetry.map(|telemetry| telemetry as Arc<dyn Observer>);
        let histories = self.express_histories.clone();
        let histories = histories.map(|histories| histories as Arc<dyn Observer>);
        let all = metrics.into_iter().chain(telemetry);
        all.chain(histories).collect()
    }

    /// Whom the engine must tell of changes of status, if there is somebody.
    pub(crate) fn outbox(&self) -> Option<Arc<dyn Outbox>> {
        let webhooks = self.webhooks.clone();
        webhooks.map(|webhooks| webhooks as Arc<dyn Outbox>)
    }

    /// Tells those who need it where earlier events are.
    pub(crate) fn attach(&self, engine: &Engine) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.attach(engine.clone());
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.attach(engine.clone());
        }
    }

    /// Their own counts.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let telemetry = self
            .telemetry
            .iter()
            .flat_map(|telemetry| telemetry.samples());
        let webhooks = self.webhooks.iter().flat_map(|webhooks| webhooks.samples());
        telemetry.chain(webhooks).collect()
    }

    /// Sends what waits, but not for long.
    pub(crate) async fn close(&self) {
        let telemetry = async {
            if let Some(telemetry) = &self.telemetry {
                telemetry.close().await;
            }
        };
        let webhooks = async {
            if let Some(webhooks) = &self.webhooks {
                webhooks.close().await;
            }
        };
        tokio::join!(telemetry, webhooks);
    }
}

fn express_histories(bytes_max: u64) -> Option<Arc<ExpressHistories>> {
    (bytes_max > 0).then(|| Arc::new(ExpressHistories::new(bytes_max)))
}

fn telemetry(args: &TelemetryArgs) -> Outcome<Option<Telemetry>> {
    // The only one there is.
    let ProtocolArg::HttpProtobuf = args.otlp_protocol;
    if args.no_otlp {
        return Ok(None);
    }
    let settings = OtlpSettings {
        endpoint: args.otlp_endpoint.clone(),
        traces_endpoint: args.otlp_traces_endpoint.clone(),
        logs_endpoint: args.otlp_logs_endpoint.clone(),
        headers: args.otlp_headers.clone(),
        traces_headers: args.otlp_traces_headers.clone(),
        logs_headers: args.otlp_logs_headers.clone(),
        timeout_ms: args.otlp_timeout,
        gzip: args.otlp_compression == CompressionArg::Gzip,
        service_name: args.service_name.clone(),
        resource_attributes: args.resource_attributes.clone(),
    };
    let config = settings.read().map_err(|why| {
        Stop::Usage(anyhow!(
            "{why}\nhint: --otlp-… says where telemetry goes, or an OTEL_… variable of the environment"
        ))
    })?;
    let started = config.map(Telemetry::start).transpose();
    started.map_err(|error| Stop::Runtime(anyhow!("telemetry cannot be sent: {error}")))
}

fn webhooks(args: &TelemetryArgs) -> Outcome<Option<Webhooks>> {
    let Some(path) = &args.webhooks else {
        return Ok(None);
    };
    let shown = path.display();
    let text = given::read(path)?;
    let config: WebhookConfig = toml::from_str(&text).map_err(|error| {
        // The text around it may hold a secret.
        let why = without_text(&error, &text);
        Stop::Usage(anyhow!("`{shown}` holds no webhooks: {why}"))
    })?;
    let started = Webhooks::start(config).map_err(|error| match error {
        WebhookError::Wrong(..) => Stop::Usage(anyhow!("`{shown}`: {error}")),
        WebhookError::Start(_) => Stop::Runtime(anyhow!("{error}")),
    });
    started.map(Some)
}
