//! Marking: which records the roots need. Each map page is read once; ids go to a [`Spill`].

use super::roots::Root;
use crate::reader::{Location, Reader, coalesce, slice};
use crate::spill::Spill;
use crate::walked::Walked;
use crate::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use repo_format::compress::Decompressor;
use repo_format::map::{Page, Place};
use repo_format::{Id, SnapshotId};

/// Pages read together.
const BATCH_PAGES: usize = 128;

/// A page to read, and for whom.
#[derive(Clone, Copy)]
struct Node {
    id: Id,
    place: Place,
    sid: SnapshotId,
}

/// A record that a root needs and that cannot be read or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) sid: SnapshotId,
    pub(super) record: String,
}

type BatchRead = BoxFuture<'static, Result<Vec<(Node, Result<Page>)>>>;

/// Walks the maps of `roots` and adds the ids of all pages and chunks to `refs`, but for what is
/// below pages in `before`. Pages that cannot be read are given back.
pub(super) async fn mark(
    reader: &Reader,
    roots: &[Root],
    before: &Walked,
    walked: &mut Walked,
    refs: &mut Spill<16>,
) -> Result<Vec<Missing>> {
    let exec = reader.repository().exec();
    let mut missing = Vec::new();
    let mut stack: Vec<Node> = Vec::new();
    let nodes = |root: &Root| {
        let sid = root.sid;
        root.maps.iter().map(move |(id, place)| Node { id: *id, place: *place, sid }).collect::<Vec<_>>()
    };
    let mut reads: FuturesUnordered<BatchRead> = FuturesUnordered::new();
    let jobs = if exec.is_inline() { 1 } else { exec.width() * 2 };
    let mut roots = roots.iter();
    loop {
        exec.check_cancelled()?;
        while reads.len() < jobs {
            while stack.len() < BATCH_PAGES
                && let Some(root) = roots.next()
            {
                take_nodes(nodes(root), before, walked, refs, &mut stack);
            }
            if stack.is_empty() {
                break;
            }
            let batch = stack.split_off(stack.len().saturating_sub(BATCH_PAGES));
            reads.push(exec.spawn(read_batch(reader.clone(), batch)));
        }
        let Some(read) = reads.next().await else { break };
        for (node, page) in read? {
            match page {
                Ok(Page::Leaf(entries)) => {
                    entries.iter().filter_map(|entry| entry.id).for_each(|id| refs.push(id.short()));
                }
                Ok(Page::Inner(children)) => {
                    let child = |child: repo_format::map::Child| Node {
                        id: child.id,
                        place: child.place,
                        sid: node.sid,
                    };
                    let children = children.into_iter().map(child).collect();
                    take_nodes(children, before, walked, refs, &mut stack);
                }
                Err(_) => missing.push(Missing { sid: node.sid, record: format!("map page {}", node.id) }),
            }
        }
        refs.settle().await?;
    }
    refs.close().await?;
    Ok(missing)
}

fn take_nodes(
    nodes: Vec<Node>,
    before: &Walked,
    walked: &mut Walked,
    refs: &mut Spill<16>,
    stack: &mut Vec<Node>,
) {
    for node in nodes.into_iter().filter(|node| !node.id.is_zero()) {
        let short = node.id.short();
        if !before.contains(&short) && walked.insert(short) {
            refs.push(short);
            stack.push(node);
        }
    }
}

/// Reads pages by few requests; what has no good copy is damage, what the store says is an error.
async fn read_batch(reader: Reader, nodes: Vec<Node>) -> Result<Vec<(Node, Result<Page>)>> {
    let mut out = Vec::with_capacity(nodes.len());
    let mut wanted = Vec::new();
    for (n, node) in nodes.iter().enumerate() {
        match reader.locate(&node.id).await {
            Ok(mut locations) if !locations.is_empty() => wanted.push((n, locations.swap_remove(0))),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Damage => {}
            Err(error) => return Err(error),
        }
    }
    let mut found: Vec<Option<Page>> = nodes.iter().map(|_| None).collect();
    for fetch in coalesce(wanted) {
        let bytes = match reader.fetch(&fetch.name, fetch.range.clone()).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Damage => continue,
            Err(error) => return Err(error),
        };
        let worker = reader.clone();
        let records: Vec<(usize, Location, Option<Place>)> =
            fetch.records.into_iter().map(|(n, l)| (n, l, nodes.get(n).map(|node| node.place))).collect();
        let opened = reader.repository().exec().cpu(move || {
            let mut tools = Decompressor::new();
            let open = |(n, location, place): (usize, Location, Option<Place>)| {
                let mut plain = Vec::new();
                let sealed = slice(&bytes, &fetch.range, &location).ok()?;
                worker.open(&location, sealed, &mut tools, &mut plain).ok()?;
                Some((n, place?.parse(&plain).ok()?))
            };
            records.into_iter().filter_map(open).collect::<Vec<_>>()
        });
        for (n, page) in opened.await? {
            if let Some(slot) = found.get_mut(n) {
                *slot = Some(page);
            }
        }
    }
    for (node, page) in nodes.into_iter().zip(found) {
        let page = match page {
            Some(page) => Ok(page),
            None => match read_one(&reader, &node).await {
                Err(error) if error.kind() != ErrorKind::Damage => return Err(error),
                other => other,
            },
        };
        out.push((node, page));
    }
    Ok(out)
}

/// From any location that is good.
async fn read_one(reader: &Reader, node: &Node) -> Result<Page> {
    let pages = reader.pages(&[node.id]).await?;
    let bytes = pages.first().map(Vec::as_slice).unwrap_or_default();
    let object = || format!("map page {}", node.id);
    node.place.parse(bytes).map_err(|source| Error::Format { object: object(), source })
}
