//! The ways to a brain, and how each says the same thing.

use crate::common::{Home, Service};
use crate::peer::Peer;

/// How a brain is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http,
    Https,
    Ws,
    Wss,
    Grpc,
    Grpcs,
    /// The brain inside, which speaks to a model's server.
    OpenAi,
}

impl Way {
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Wss | Self::Grpcs)
    }

    /// Whether all tasks share a connection.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::Ws | Self::Wss | Self::Grpc | Self::Grpcs)
    }

    /// Whether a brain that lost a task can ask for it: a model's server keeps nothing.
    pub fn resyncs(self) -> bool {
        self != Self::OpenAi
    }

    pub fn is_http2(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// `MCP_SERVER_URL` for a brain at `address`, and what else the service has to be told.
    pub fn variables(self, address: std::net::SocketAddr) -> Vec<(&'static str, String)> {
        let scheme = match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
            Self::OpenAi => {
                return vec![
                    ("MCP_SERVER_URL", "openai:".to_owned()),
                    ("OPENAI_BASE_URL", format!("http://{address}/v1")),
                    ("OPENAI_FINETUNED_MODEL_ID", "stand-in".to_owned()),
                ];
            }
        };
        vec![("MCP_SERVER_URL", format!("{scheme}://{address}"))]
    }

    /// A service whose brain is `peer`.
    pub async fn service(self, peer: &Peer, variables: &[(&str, &str)]) -> Service {
        self.service_at(Home::new(), peer.address(), variables, Some(peer.authority())).await
    }

    /// The same at any address, which trusts `authority` and nobody else.
    pub async fn service_at(
        self,
        home: Home,
        address: std::net::SocketAddr,
        variables: &[(&str, &str)],
        authority: Option<&str>,
    ) -> Service {
        let store = home.path().join("authorities.pem");
        std::fs::write(&store, authority.unwrap_or_default()).unwrap();
        let own = self.variables(address);
        let variables = variables.to_vec();
        Service::start_with(home, "", &[], move |command| {
            command.env("SSL_CERT_FILE", store).envs(own).envs(variables);
        })
        .await
    }
}
