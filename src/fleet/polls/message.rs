//! What replicas send each other through Redis. Messages may be lost, doubled or reordered.

/// Replies that are stored and sent: a number, a colon, and the sealed reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub number: u64,
    pub sealed: Vec<u8>,
}

/// A message to all replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A replica has published a reply.
    Reply {
        session: String,
        replica: String,
        /// The number of this publication among those of the replica.
        publication: u64,
        reply: Numbered,
    },
    /// Nobody has the lease of the session any more.
    Released { session: String },
    /// The replica has left, and its leases are free.
    Left { replica: String },
    /// The replica with the lease of the session must poll it sooner.
    Hint { session: String, source: String },
    /// The vendor has called back about the session whose name is sealed here.
    Callback { process: String, sealed: Vec<u8> },
}

impl Numbered {
    pub fn write(&self) -> Vec<u8> {
        [format!("{}:", self.number).as_bytes(), &self.sealed].concat()
    }

    pub fn read(text: &[u8]) -> Option<Self> {
        let (number, sealed) = split(text, b':')?;
        Some(Self { number: number.parse().ok()?, sealed: sealed.to_vec() })
    }
}

impl Message {
    /// The message of a reply, up to the reply itself.
    pub fn head(session: &str, replica: &str, publication: u64) -> String {
        format!("reply {session} {replica} {publication} ")
    }

    pub fn write(&self) -> Vec<u8> {
        match self {
            Self::Reply { session, replica, publication, reply } => {
                [Self::head(session, replica, *publication).as_bytes(), &reply.write()].concat()
            }
            Self::Released { session } => format!("released {session} ").into_bytes(),
            Self::Left { replica } => format!("left {replica} ").into_bytes(),
            Self::Hint { session, source } => format!("hint {session} {source} ").into_bytes(),
            Self::Callback { process, sealed } => {
                [format!("callback {process} ").as_bytes(), sealed].concat()
            }
        }
    }

    /// Reads a message. `None` if this version does not know it.
    pub fn read(text: &[u8]) -> Option<Self> {
        let (kind, rest) = split(text, b' ')?;
        let (name, rest) = split(rest, b' ')?;
        let name = name.to_owned();
        match kind {
            "reply" => {
                let (replica, rest) = split(rest, b' ')?;
                let (publication, rest) = split(rest, b' ')?;
                let (replica, publication) = (replica.to_owned(), publication.parse().ok()?);
                let reply = Numbered::read(rest)?;
                Some(Self::Reply { session: name, replica, publication, reply })
            }
            "released" => Some(Self::Released { session: name }),
            "left" => Some(Self::Left { replica: name }),
            "hint" => {
                let (source, _) = split(rest, b' ')?;
                Some(Self::Hint { session: name, source: source.to_owned() })
            }
            "callback" => Some(Self::Callback { process: name, sealed: rest.to_vec() }),
            _ => None,
        }
    }
}

/// Splits a text at the first separator. `None` if the first part is not UTF-8.
fn split(text: &[u8], separator: u8) -> Option<(&str, &[u8])> {
    let place = text.iter().position(|byte| *byte == separator)?;
    Some((std::str::from_utf8(&text[..place]).ok()?, &text[place + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let name = || "0af3".to_owned();
        let reply = Numbered { number: 17, sealed: vec![0, b' ', b':', 255] };
        let messages = [
            Message::Reply { session: name(), replica: "a.1".to_owned(), publication: 3, reply },
            Message::Released { session: name() },
            Message::Left { replica: "a.1".to_owned() },
            Message::Hint { session: name(), source: "sweep".to_owned() },
            Message::Callback { process: "a".to_owned(), sealed: vec![b' ', 0, 255] },
        ];
        for message in messages {
            assert_eq!(Message::read(&message.write()), Some(message));
        }
        for text in
            ["", "reply", "reply a", "reply a b x 1:", "reply a b 1 x:", "later a ", "left a"]
        {
            assert_eq!(Message::read(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Message::read(b"left \xff "), None);
    }
}
