//! `codex-agent healthcheck`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::Exit;
use crate::config::Config;

/// Longer than a loaded service takes, shorter than a container's own limit.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn healthcheck(config: &Config) -> anyhow::Result<Exit> {
    let mut address = config.listen_at(Config::SERVE_PORT);
    address.set_ip(match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    crate::brain::install_tls();
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let answer = client.get(format!("http://{address}/healthz")).send().await?;
    anyhow::ensure!(answer.status().is_success(), "{address} answers {}", answer.status());
    super::print_line(&format!("{address} is alive"))?;
    Ok(Exit::Done)
}
