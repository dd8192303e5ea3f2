//! One connection of role `Bus`: a request, then its answer.
//!
//! It connects when first used and again after a failure, and repeats nothing by itself: whether a
//! write may be sent twice is the driver's decision.

use std::io::{self, BufReader};

use crate::error::BusError;
use crate::protocol::{self, Request, Response, Role, TimeState};
use crate::socket::{Address, IO_TIMEOUT, Stream};

/// A connection that may be down.
#[derive(Debug)]
pub(crate) struct Link {
    address: Address,
    client: String,
    stream: Option<BufReader<Stream>>,
    out: Vec<u8>,
    frame: Vec<u8>,
}

impl Link {
    pub(crate) fn new(address: Address, client: String) -> Self {
        Self {
            address,
            client,
            stream: None,
            out: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// Sends a request and returns its answer. `attempt` names the operation in errors.
    pub(crate) fn call(
        &mut self,
        request: &Request,
        attempt: &'static str,
    ) -> Result<Response, BusError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(&self.address, Role::Bus, &self.client)?.0,
        };
        self.out.clear();
        request.encode(&mut self.out);
        let response = exchange(&mut stream, &self.out, &mut self.frame, attempt)?;
        // Only a connection that answered in full is kept.
        self.stream = Some(stream);
        refused(response)
    }
}

/// Connects and says `Hello`.
pub(crate) fn open(
    address: &Address,
    role: Role,
    client: &str,
) -> Result<(BufReader<Stream>, TimeState), BusError> {
    let attempt = "say hello";
    let connect = |source| BusError::Connect {
        address: address.to_string(),
        source,
    };
    let stream = address.connect().map_err(connect)?;
    stream.set_read_timeout(Some(IO_TIMEOUT)).map_err(connect)?;
    let mut stream = BufReader::new(stream);
    let mut out = Vec::new();
    Request::Hello {
        role,
        client: client.to_owned(),
    }
    .encode(&mut out);
    let response = exchange(&mut stream, &out, &mut Vec::new(), attempt)?;
    let Response::Welcome(state) = refused(response)? else {
        return Err(BusError::Unexpected(attempt));
    };
    Ok((stream, state))
}

fn refused(response: Response) -> Result<Response, BusError> {
    if let Response::Failed { failure, text } = response {
        return Err(BusError::Failed { failure, text });
    }
    Ok(response)
}

fn exchange(
    stream: &mut BufReader<Stream>,
    out: &[u8],
    frame: &mut Vec<u8>,
    attempt: &'static str,
) -> Result<Response, BusError> {
    let failed = |source| BusError::Io { attempt, source };
    stream.get_mut().send(out).map_err(failed)?;
    if !protocol::read_frame(stream, frame).map_err(failed)? {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Response::decode(frame)?)
}
