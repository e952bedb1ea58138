//! Resources of tasks in a segment: their parts, and a reference to one that was there before.

use std::sync::Arc;

use stepwell_asl::{Pattern, Reply, Resource, Target};

use super::{
    CodecError,
    bytes::{Reader, Writer, entry},
};

/// A resource is written by its parts, so that it reads the same whatever the parser accepts by then.
pub(super) fn write(w: &mut Writer, resource: &Arc<Resource>) {
    let identity = Arc::as_ptr(resource) as usize;
    if let Some(number) = w.resources.find(identity) {
        return w.varint(number + 1);
    }
    w.resources.add(identity);
    w.byte(0);
    w.text(&resource.text);
    match &resource.target {
        Target::LambdaFunction { name, qualifier } => {
            w.byte(1);
            w.text(name);
            w.optional_text(qualifier.as_ref());
        }
        Target::LambdaInvoke(reply) => {
            w.byte(2);
            w.byte(reply_number(*reply));
        }
        Target::Activity { name } => {
            w.byte(3);
            w.text(name);
        }
        Target::StartExecution(pattern) => {
            w.byte(4);
            w.byte(pattern_number(*pattern));
        }
        Target::HttpInvoke => w.byte(5),
        Target::Service {
            service,
            action,
            pattern,
        } => {
            w.byte(6);
            w.text(service);
            w.text(action);
            w.byte(pattern_number(*pattern));
        }
        Target::AwsSdk {
            service,
            action,
            reply,
        } => {
            w.byte(7);
            w.text(service);
            w.text(action);
            w.byte(reply_number(*reply));
        }
        Target::Wasm { name, version } => {
            w.byte(8);
            w.text(name);
            w.optional_text(version.as_ref());
        }
    }
}

pub(super) fn read(r: &mut Reader) -> Result<Arc<Resource>, CodecError> {
    if let Some(number) = r.varint()?.checked_sub(1) {
        return entry(&r.resources, number).ok_or_else(|| r.damaged("a resource refers to none"));
    }
    let text = r.text()?;
    let target = match r.byte()? {
        1 => Target::LambdaFunction {
            name: r.text()?,
            qualifier: r.optional_text()?,
        },
        2 => Target::LambdaInvoke(read_reply(r)?),
        3 => Target::Activity { name: r.text()? },
        4 => Target::StartExecution(read_pattern(r)?),
        5 => Target::HttpInvoke,
        6 => Target::Service {
            service: r.text()?,
            action: r.text()?,
            pattern: read_pattern(r)?,
        },
        7 => Target::AwsSdk {
            service: r.text()?,
            action: r.text()?,
            reply: read_reply(r)?,
        },
        8 => Target::Wasm {
            name: r.text()?,
            version: r.optional_text()?,
        },
        found => return Err(r.unknown("form of a resource", found.into())),
    };
    let resource = Arc::new(Resource { text, target });
    r.resources.push(resource.clone());
    Ok(resource)
}

fn reply_number(reply: Reply) -> u8 {
    match reply {
        Reply::Response => 0,
        Reply::TaskToken => 1,
    }
}

fn read_reply(r: &mut Reader) -> Result<Reply, CodecError> {
    match r.byte()? {
        0 => Ok(Reply::Response),
        1 => Ok(Reply::TaskToken),
        found => Err(r.unknown("reply of a resource", found.into())),
    }
}

fn pattern_number(pattern: Pattern) -> u8 {
    match pattern {
        Pattern::RequestResponse => 0,
        Pattern::Sync => 1,
        Pattern::Sync2 => 2,
        Pattern::WaitForTaskToken => 3,
    }
}

fn read_pattern(r: &mut Reader) -> Result<Pattern, CodecError> {
    match r.byte()? {
        0 => Ok(Pattern::RequestResponse),
        1 => Ok(Pattern::Sync),
        2 => Ok(Pattern::Sync2),
        3 => Ok(Pattern::WaitForTaskToken),
        found => Err(r.unknown("pattern of a resource", found.into())),
    }
}
