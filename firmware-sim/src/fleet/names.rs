//! Who is in the fleet, and the configuration of an ingest that admits it. Pure.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use furrow_wire::{CooperativeId, GatewayId, GreenhouseId, IdError, Topic, TopicKind};

/// The names of a fleet: the same numbers give the same names.
#[derive(Debug, Clone)]
pub struct Names {
    /// First part of the cooperatives' ids.
    pub prefix: String,
    /// Gateways over all cooperatives, from 1.
    pub gateways: u32,
    /// Cooperatives that they are dealt to in turn, from 1.
    pub cooperatives: u32,
    /// Every gateway's password.
    pub password: String,
}

/// One gateway's names.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) cooperative: CooperativeId,
    pub(crate) gateway: GatewayId,
    pub(crate) greenhouse: GreenhouseId,
}

impl Names {
    /// The gateway number `number`, from 0.
    pub(crate) fn of(&self, number: u32) -> Result<Name, IdError> {
        let place = number / self.cooperatives.max(1) + 1;
        Ok(Name {
            cooperative: self.cooperative(number % self.cooperatives.max(1))?,
            gateway: format!("gw-{place:05}").parse()?,
            greenhouse: format!("gh-{place:05}").parse()?,
        })
    }

    /// The configuration of an ingest on this machine that admits the fleet. `token` opens its API.
    ///
    /// # Errors
    /// When the prefix does not give valid ids.
    pub fn ingest_toml(
        &self,
        broker: SocketAddr,
        http: SocketAddr,
        data: &Path,
        token: &str,
    ) -> Result<String, IdError> {
        let mut out = format!(
            "# Written by furrow-sim fleet: for load on this machine only.\n\
             data_dir = {data:?}\n\n[broker]\nlisten = \"{broker}\"\n\n[http]\nlisten = \"{http}\"\n"
        );
        for number in 0..self.cooperatives {
            let id = self.cooperative(number)?;
            let tables = format!(
                "\n[[cooperative]]\nid = \"{id}\"\nname = \"{id}\"\n\n\
                 [[cooperative.token]]\nname = \"fleet\"\ntoken = {token:?}\n"
            );
            out.push_str(&tables);
            let own = (number..self.gateways)
                .step_by(usize::try_from(self.cooperatives.max(1)).unwrap_or(usize::MAX));
            for gateway in own {
                let name = self.of(gateway)?;
                // Writing to a string can't fail.
                write!(
                    out,
                    "\n[[cooperative.gateway]]\nid = \"{}\"\ngreenhouse = \"{}\"\npassword = {:?}\n",
                    name.gateway, name.greenhouse, self.password
                )
                .ok();
            }
        }
        Ok(out)
    }

    fn cooperative(&self, number: u32) -> Result<CooperativeId, IdError> {
        if self.cooperatives == 1 {
            self.prefix.parse()
        } else {
            format!("{}-{}", self.prefix, number + 1).parse()
        }
    }
}

impl Name {
    /// User name, and client id.
    pub(crate) fn login(&self) -> String {
        format!("{}/{}", self.cooperative, self.gateway)
    }

    /// One of its topics.
    pub(crate) fn topic(&self, kind: TopicKind) -> String {
        Topic {
            cooperative: self.cooperative.clone(),
            gateway: self.gateway.clone(),
            kind,
        }
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(cooperatives: u32) -> Names {
        Names {
            prefix: "fleet".to_owned(),
            gateways: 3,
            cooperatives,
            password: "secret".to_owned(),
        }
    }

    #[test]
    fn gateways_are_dealt_to_cooperatives_in_turn() {
        let logins = |names: Names| {
            let login = |number| names.of(number).unwrap().login();
            (0..3).map(login).collect::<Vec<_>>()
        };
        assert_eq!(
            logins(names(1)),
            ["fleet/gw-00001", "fleet/gw-00002", "fleet/gw-00003"]
        );
        assert_eq!(
            logins(names(2)),
            ["fleet-1/gw-00001", "fleet-2/gw-00001", "fleet-1/gw-00002"]
        );
    }

    #[test]
    fn the_configuration_admits_every_gateway_once() {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let text = names(2)
            .ingest_toml(local(1883), local(8080), Path::new("data"), "token")
            .unwrap();
        let expected = r#"# Written by furrow-sim fleet: for load on this machine only.
data_dir = "data"

[broker]
listen = "127.0.0.1:1883"

[http]
listen = "127.0.0.1:8080"

[[cooperative]]
id = "fleet-1"
name = "fleet-1"

[[cooperative.token]]
name = "fleet"
token = "token"

[[cooperative.gateway]]
id = "gw-00001"
greenhouse = "gh-00001"
password = "secret"

[[cooperative.gateway]]
id = "gw-00002"
greenhouse = "gh-00002"
password = "secret"

[[cooperative]]
id = "fleet-2"
name = "fleet-2"

[[cooperative.token]]
name = "fleet"
token = "token"

[[cooperative.gateway]]
id = "gw-00001"
greenhouse = "gh-00001"
password = "secret"
"#;
        assert_eq!(text, expected);
    }
}
