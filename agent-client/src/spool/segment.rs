//! Segments: files of frames with sequences that follow each other.
//!
//! A segment is named `FIRST-SPOOL.seg` (20 digits, first 8 of the spool id) and begins with
//! `FUSNSPL1`, the spool id (16 bytes), the first sequence (8) and the CRC-32 of these (4). The
//! spool id tells leftovers of a renumbering from the spool's own. A header that is damaged costs
//! nothing: it says what the name says, and every frame has its own sequence and checksum.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fusion_core::id::SpoolId;

use super::error::must_be_known;
use super::frame::{self, Frame};
use super::{Durability, Recovery, SpoolError};

const MAGIC: &[u8; 8] = b"FUSNSPL1";
const HEADER: usize = 36;
const SUFFIX: &str = ".seg";

/// Where a frame begins in its segment; from [`Segment::read`], for the frame after it.
pub(super) type Place = u64;

/// One file of frames.
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    first: u64,
    next: u64,
    bytes: u64,
}

impl Segment {
    /// A new, empty one. Overwrites what a crash left under its name.
    pub(super) fn create(dir: &Path, spool: SpoolId, first: u64) -> Result<Self, SpoolError> {
        let path = dir.join(file_name(spool, first));
        let doing = || SpoolError::io(format!("make the segment {}", path.display()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(doing())?;
        file.write_all_at(&header(spool, first), 0).map_err(doing())?;
        sync_dir(dir).map_err(doing())?;
        Ok(Self { path, file, first, next: first, bytes: HEADER as u64 })
    }

    /// Its first sequence, whether or not it has a frame.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence after its last.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of its header and its frames.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it has no frame.
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Whether it has the frame of this sequence.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        (self.first..self.next).contains(&sequence)
    }

    /// Puts an encoded frame behind the last. After a failure the next append goes over what a
    /// half-done one left; recovery would cut it off.
    pub(super) fn append(
        &mut self,
        frame: &[u8],
        durability: Durability,
    ) -> Result<(), SpoolError> {
        let mut written = self.file.write_all_at(frame, self.bytes);
        if durability == Durability::Machine {
            written = written.and_then(|()| self.file.sync_data());
        }
        if let Err(source) = written {
            let _ = self.file.set_len(self.bytes);
            let doing = format!("append to {}", self.path.display());
            return Err(SpoolError::Io { doing, source });
        }
        self.bytes += frame.len() as u64;
        self.next += 1;
        Ok(())
    }

    /// Makes it survive the machine.
    pub(super) fn sync(&mut self) -> Result<(), SpoolError> {
        let synced = self.file.sync_data();
        synced.map_err(SpoolError::io(format!("sync {}", self.path.display())))
    }

    /// From now on reading is an input/output error, as of memory that is not there.
    #[cfg(test)]
    pub(super) fn fail_reads(&mut self) {
        self.file = std::fs::File::open("/proc/self/mem").unwrap();
    }

    /// Removes the file.
    pub(super) fn remove(self) -> Result<(), SpoolError> {
        remove(&self.path)
    }

    /// The frame of a sequence that it [contains](Self::contains), and the place of the one after
    /// it. `hint` is the place of this one, if known.
    pub(super) fn read(
        &self,
        sequence: u64,
        hint: Option<Place>,
    ) -> Result<(Frame, Place), SpoolError> {
        let mut at = (self.first, HEADER as u64);
        if let Some(place) = hint.filter(|_| sequence != self.first) {
            at = (sequence, place);
        }
        loop {
            let damaged = SpoolError::Damaged { sequence: at.0 };
            let failed = |source: io::Error| match source.kind() {
                // The file is shorter than what was written to it.
                io::ErrorKind::UnexpectedEof => SpoolError::Damaged { sequence: at.0 },
                _ => SpoolError::io(format!("read {}", self.path.display()))(source),
            };
            let mut head = [0; frame::HEADER];
            self.file.read_exact_at(&mut head, at.1).map_err(failed)?;
            let Some(length) = frame::frame_bytes(&head) else { return Err(damaged) };
            let after = at.1 + length as u64;
            if after > self.bytes {
                return Err(damaged);
            }
            if at.0 == sequence {
                let mut bytes = vec![0; length];
                self.file.read_exact_at(&mut bytes, at.1).map_err(failed)?;
                let frame = frame::decode(&bytes, sequence).ok_or(damaged)?;
                return Ok((frame, after));
            }
            at = (at.0 + 1, after);
        }
    }

    /// Opens a file, mends its header and keeps the frames that are whole; gives also how many bytes
    /// were not what they should be. `None` if there is less than a header.
    fn open(path: PathBuf, spool: SpoolId, first: u64) -> Result<Option<(Self, u64)>, SpoolError> {
        let doing = || SpoolError::io(format!("read {}", path.display()));
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(doing())?;
        let length = file.metadata().map_err(doing())?.len();
        if length < HEADER as u64 {
            return Ok(None);
        }
        let (mut found, header) = ([0; HEADER], header(spool, first));
        file.read_exact_at(&mut found, 0).map_err(doing())?;
        must_be_known("the segment", &path, MAGIC, &found)?;
        let mut torn = 0;
        if found != header {
            let mended = file.write_all_at(&header, 0);
            mended.map_err(SpoolError::io(format!("mend {}", path.display())))?;
            torn = HEADER as u64;
        }
        let (next, bytes) = whole_frames(&file, length, first).map_err(doing())?;
        Ok(Some((Self { path, file, first, next, bytes }, torn + length - bytes)))
    }
}

/// How far the frames of a file of this length are whole: the sequence after the last of them, and
/// where it ends.
fn whole_frames(file: &File, length: u64, first: u64) -> io::Result<(u64, u64)> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(HEADER as u64))?;
    let (mut next, mut bytes) = (first, HEADER as u64);
    let mut buffer = Vec::new();
    while length - bytes >= frame::HEADER as u64 {
        let mut head = [0; frame::HEADER];
        reader.read_exact(&mut head)?;
        let Some(size) = frame::frame_bytes(&head) else { break };
        if length - bytes < size as u64 {
            break;
        }
        buffer.clear();
        buffer.extend_from_slice(&head);
        buffer.resize(size, 0);
        reader.read_exact(&mut buffer[frame::HEADER..])?;
        if frame::decode(&buffer, next).is_none() {
            break;
        }
        next += 1;
        bytes += size as u64;
    }
    Ok((next, bytes))
}

/// Opens what is there, oldest first, as one unbroken run of sequences that ends with the newest.
/// A torn tail is cut off; what lies before a hole is removed, which the caller tells by the first
/// sequence that is left; leftovers of another spool are removed.
pub(super) fn recover(
    dir: &Path,
    spool: SpoolId,
    recovery: &mut Recovery,
) -> Result<VecDeque<Segment>, SpoolError> {
    let mut segments: VecDeque<Segment> = VecDeque::new();
    for (first, path) in files(dir, spool)? {
        let Some((segment, torn)) = Segment::open(path.clone(), spool, first)? else {
            // Not even its header was written: made, and then the machine stopped.
            remove(&path)?;
            continue;
        };
        if torn > 0 {
            recovery.torn_bytes += torn;
            let cut = segment.file.set_len(segment.bytes);
            cut.map_err(SpoolError::io(format!("cut the torn end of {}", path.display())))?;
        }
        if let Some(before) = segments.back()
            && before.next != segment.first
        {
            let oldest = segments.front().map_or(segment.first, Segment::first);
            recovery.lost_frames += segment.first - oldest;
            for before in segments.drain(..) {
                before.remove()?;
            }
        }
        segments.push_back(segment);
    }
    Ok(segments)
}

/// First sequences and paths of the spool's own segments, in order; removes those of others.
fn files(dir: &Path, spool: SpoolId) -> Result<Vec<(u64, PathBuf)>, SpoolError> {
    let doing = || SpoolError::io(format!("list the spool {}", dir.display()));
    let mut own = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else { continue };
        let Some((first, id)) = stem.split_once('-') else { continue };
        let Some(first) = first.parse::<u64>().ok().filter(|_| first.len() == 20) else { continue };
        if *name == *file_name(spool, first) {
            own.push((first, entry.path()));
        } else if id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            remove(&entry.path())?;
        }
    }
    own.sort_unstable();
    Ok(own)
}

fn file_name(spool: SpoolId, first: u64) -> String {
    let id = spool.uuid().simple().to_string();
    format!("{first:020}-{}{SUFFIX}", &id[..8])
}

fn header(spool: SpoolId, first: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(spool.uuid().as_bytes());
    bytes[24..32].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..32]).to_le_bytes();
    bytes[32..].copy_from_slice(&crc);
    bytes
}

fn remove(path: &Path) -> Result<(), SpoolError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::io(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a directory survive the machine.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
