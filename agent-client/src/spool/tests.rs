//! The spool as a whole, on real files.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use fusion_core::id::InstanceId;
use fusion_core::time::AgentTime;

use super::*;

const BOOT: BootId = BootId::new([1; 16]);

fn claim() -> Claim {
    let instance_id = InstanceId::new(Uuid::from_u128(1));
    Claim { host: "host".into(), instance_id, since: AgentTime::from_nanos(0) }
}

fn open_with(dir: &Path, max_bytes: u64, segment_bytes: u64) -> Opened {
    let options = SpoolOptions { max_bytes, segment_bytes, durability: Durability::Process };
    let mut drawn = 100;
    let mut draw = || {
        drawn += 1;
        Uuid::from_u128(u128::from(u64::MAX) << 64 | drawn)
    };
    Spool::open(dir, options, &claim(), &mut draw).unwrap()
}

fn open(dir: &Path) -> Opened {
    open_with(dir, 1 << 20, 4_096)
}

fn append(spool: &mut Spool, payload: &[u8]) -> u64 {
    spool.append(Monotonic::from_nanos(42), BOOT, payload).unwrap()
}

fn payloads(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
    let (mut at, next) = (spool.first_held(), spool.next());
    let mut all = Vec::new();
    while at < next {
        for frame in spool.read_from(at, 1_000).unwrap() {
            at = frame.sequence + 1;
            all.push((frame.sequence, frame.payload));
        }
    }
    all
}

fn segments_in(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".seg")).count()
}

#[test]
fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut spool, takeover, recovery } = open(dir.path());
    assert_eq!((takeover, recovery.created, spool.next()), (None, true, 1));
    let identity = spool.identity().clone();
    assert_eq!(append(&mut spool, b"one"), 1);
    assert_eq!(append(&mut spool, b""), 2);
    spool.close().unwrap();
    let Opened { mut spool, takeover, recovery } = open(dir.path());
    assert_eq!((takeover, recovery), (None, Recovery::default()));
    assert_eq!(*spool.identity(), identity);
    assert_eq!(payloads(&mut spool), [(1, b"one".to_vec()), (2, Vec::new())]);
    let frame = spool.read_from(1, 0).unwrap().remove(0);
    assert_eq!((frame.stamp.as_nanos(), frame.boot), (42, BOOT));
    assert!(spool.read_from(3, 0).unwrap().is_empty());
    assert!(matches!(spool.read_from(4, 0), Err(SpoolError::NotHeld { .. })));
}

#[test]
fn acknowledging_removes_whole_segments_and_keeps_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    for number in 1..=100 {
        assert_eq!(append(&mut spool, &[0; 460]), number);
    }
    assert_eq!(segments_in(dir.path()), 13, "eight frames in each");
    spool.acknowledge(20).unwrap();
    assert_eq!((segments_in(dir.path()), spool.first_held()), (11, 21));
    assert!(matches!(spool.read_from(20, 0), Err(SpoolError::NotHeld { .. })));
    spool.acknowledge(10).unwrap();
    assert!(matches!(spool.acknowledge(101), Err(SpoolError::NotHeld { .. })));
    spool.acknowledge(100).unwrap();
    assert_eq!((segments_in(dir.path()), spool.first_held(), spool.next()), (1, 101, 101));
    drop(spool);
    let Opened { mut spool, recovery, .. } = open(dir.path());
    assert_eq!((recovery, spool.next()), (Recovery::default(), 101));
    assert_eq!(append(&mut spool, b"next"), 101);
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_frame_that_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    let mut ends = vec![spool.bytes()];
    for number in 0..5_u8 {
        append(&mut spool, &vec![number; usize::from(number) * 7]);
        ends.push(spool.bytes());
    }
    spool.close().unwrap();
    let whole = dir.path().join(segment_name(dir.path()));
    let bytes = std::fs::read(&whole).unwrap();
    assert_eq!(bytes.len() as u64, ends[5]);
    for cut in 0..=bytes.len() {
        // Cut off, and also overwritten with zeros, as some file systems leave a torn tail.
        for zeros in [0, 64] {
            let torn = [&bytes[..cut], &vec![0; zeros]].concat();
            std::fs::write(&whole, &torn).unwrap();
            let Opened { mut spool, recovery, .. } = open(dir.path());
            let kept = ends.iter().filter(|end| **end <= cut as u64).count().saturating_sub(1);
            assert_eq!(payloads(&mut spool).len(), kept, "cut at {cut}");
            assert_eq!(spool.next(), kept as u64 + 1, "cut at {cut}");
            let intact = torn.len() as u64 == ends[kept];
            assert!(cut < 36 || intact == (recovery.torn_bytes == 0), "cut at {cut}: {recovery:?}");
            assert_eq!(append(&mut spool, b"after"), kept as u64 + 1);
            drop(spool);
            let mut spool = open(dir.path()).spool;
            assert_eq!(payloads(&mut spool).pop().unwrap().1, b"after", "cut at {cut}");
        }
    }
}

fn segment_name(dir: &Path) -> String {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).find(|name| name.ends_with(".seg")).unwrap()
}

#[test]
fn a_segment_damaged_in_the_middle_is_a_loss_that_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    for _ in 0..24 {
        append(&mut spool, &[0; 460]);
    }
    spool.acknowledge(2).unwrap();
    spool.close().unwrap();
    let id = &segment_name(dir.path())[21..29];
    let second = dir.path().join(format!("{:020}-{id}.seg", 9));
    let mut bytes = std::fs::read(&second).unwrap();
    bytes[36 + 3 * 500 + 100] ^= 1;
    std::fs::write(&second, bytes).unwrap();
    let Opened { mut spool, recovery, .. } = open(dir.path());
    assert_eq!((spool.first_held(), spool.next()), (17, 25));
    assert_eq!(recovery.lost_frames, 14, "3 to 16");
    assert_eq!(payloads(&mut spool).len(), 8);
}

/// In its payload, and in its head, after which no other can be found.
#[test]
fn a_frame_that_is_damaged_while_the_spool_is_open_is_given_up_with_the_rest_of_its_segment() {
    let payload = [7; 100];
    for (of_the_head, segment_bytes) in [(false, 4_096), (true, 4_096), (true, 400)] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open_with(dir.path(), 1 << 20, segment_bytes).spool;
        append(&mut spool, &payload);
        let name = segment_name(dir.path());
        let second_at = std::fs::metadata(dir.path().join(&name)).unwrap().len();
        // Else the third frame is in a segment of its own.
        let in_one_segment = segment_bytes > 400;
        let (damaged, at) = match in_one_segment {
            true => (2, second_at + if of_the_head { 0 } else { 60 }),
            false => (1, 36),
        };
        append(&mut spool, &payload);
        append(&mut spool, &payload);
        let file = std::fs::File::options().write(true).open(dir.path().join(&name)).unwrap();
        file.write_all_at(&[0xff; 8], at).unwrap();

        let before = (damaged > 1).then(|| spool.read_from(1, 1 << 20).unwrap());
        assert_eq!(before.map_or(1, |frames| frames.len()), 1, "what is before it");
        for _ in 0..2 {
            let error = spool.read_from(damaged, 1 << 20).unwrap_err();
            assert!(matches!(error, SpoolError::Damaged { sequence } if sequence == damaged));
        }
        let through = if in_one_segment { 3 } else { 2 };
        assert_eq!(spool.give_up(damaged).unwrap(), through);
        assert_eq!((spool.first_held(), spool.next()), (through + 1, 4));
        assert_eq!(append(&mut spool, b"later"), 4);
        let left: Vec<u64> = payloads(&mut spool).iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(left, (through + 1..=4).collect::<Vec<_>>());
        spool.close().unwrap();
        let Opened { mut spool, recovery, .. } = open_with(dir.path(), 1 << 20, segment_bytes);
        assert_eq!(recovery, Recovery::default(), "nothing more is lost");
        assert_eq!(payloads(&mut spool).len(), left.len());
    }
}

#[test]
fn a_spool_copied_back_knows_it_and_can_be_numbered_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    append(&mut spool, b"one");
    append(&mut spool, b"two");
    spool.close().unwrap();
    let segment = dir.path().join(segment_name(dir.path()));
    let yesterday = std::fs::read(&segment).unwrap();
    let mut spool = open(dir.path()).spool;
    append(&mut spool, b"three");
    spool.acknowledge(3).unwrap();
    spool.close().unwrap();
    std::fs::write(&segment, yesterday).unwrap();
    let Opened { mut spool, recovery, .. } = open(dir.path());
    assert!(recovery.rolled_back);
    let old = spool.identity().clone();
    append(&mut spool, b"later");
    let mut draw = || Uuid::from_u128(0xabcdef << 100);
    spool.renumber(&mut draw).unwrap();
    assert_ne!(spool.identity().spool_id, old.spool_id);
    assert_eq!(spool.identity().agent_suffix, old.agent_suffix);
    assert_eq!(payloads(&mut spool), [(1, b"later".to_vec())]);
    assert_eq!(segments_in(dir.path()), 1);
    spool.acknowledge(1).unwrap();
    drop(spool);
    let Opened { spool, recovery, .. } = open(dir.path());
    assert_eq!((recovery, spool.next(), spool.first_held()), (Recovery::default(), 2, 2));
}

#[test]
fn when_full_it_refuses_and_goes_on_after_an_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open_with(dir.path(), 10_000, 2_000).spool;
    let mut appended = 0;
    let refused = loop {
        match spool.append(Monotonic::from_nanos(0), BOOT, &[0; 460]) {
            Ok(sequence) => appended = sequence,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SpoolError::Full { max_bytes: 10_000, needed: 500, .. }));
    assert!((18..20).contains(&appended), "{appended}");
    assert_eq!(spool.next(), appended + 1, "what was refused took no number");
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(on_disk < 11_000, "{on_disk}");
    spool.acknowledge(appended).unwrap();
    assert_eq!(append(&mut spool, &[0; 460]), appended + 1);
}

#[test]
fn an_identity_that_cannot_be_read_is_drawn_anew_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    append(&mut spool, b"one");
    drop(spool);
    std::fs::write(dir.path().join("identity"), "version = 1\nspool_id = \"x\"").unwrap();
    std::fs::write(dir.path().join("not-ours.seg"), "").unwrap();
    let mut draw = || Uuid::from_u128(5 << 100);
    let options = SpoolOptions::with_max_bytes(1 << 20);
    let opened = Spool::open(dir.path(), options, &claim(), &mut draw).unwrap();
    assert!(opened.recovery.identity_lost);
    assert_eq!(opened.spool.next(), 1);
    assert!(dir.path().join("not-ours.seg").exists());
}

/// The name of a segment says what its header says, and each frame has its own checksum.
#[test]
fn a_damaged_header_costs_nothing_and_is_mended() {
    for at in [0, 7, 12, 25, 33] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path()).spool;
        append(&mut spool, b"one");
        append(&mut spool, b"two");
        spool.close().unwrap();
        let segment = dir.path().join(segment_name(dir.path()));
        let whole = std::fs::read(&segment).unwrap();
        let mut damaged = whole.clone();
        // No digit of a later format where there was a 1.
        damaged[at] ^= 0x40;
        std::fs::write(&segment, damaged).unwrap();
        let Opened { mut spool, recovery, .. } = open(dir.path());
        assert_eq!(recovery, Recovery { torn_bytes: 36, ..Recovery::default() }, "byte {at}");
        assert_eq!(payloads(&mut spool), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
        assert_eq!(std::fs::read(&segment).unwrap(), whole);
        assert_eq!(append(&mut spool, b"three"), 3);
    }
}

/// Whoever goes back to an earlier version must not lose what the later one has not delivered.
#[test]
fn what_a_later_version_wrote_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    append(&mut spool, b"one");
    spool.close().unwrap();
    let segment = segment_name(dir.path());
    let identity = std::fs::read_to_string(dir.path().join("identity")).unwrap();
    let later = identity.replace("version = 1", "version = 2\nmore = [\"of it\"]");
    for (name, written) in [
        ("identity", later.into_bytes()),
        ("cursor", [b"FUSNCUR2", &[7; 40][..]].concat()),
        (&*segment, [b"FUSNSPL2", &[7; 90][..]].concat()),
    ] {
        let path = dir.path().join(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, &written).unwrap();
        let options = SpoolOptions::with_max_bytes(1 << 20);
        let mut draw = || panic!("it draws a new identity");
        let refused = Spool::open(dir.path(), options, &claim(), &mut draw).map(drop).unwrap_err();
        let told = refused.to_string();
        assert!(matches!(refused, SpoolError::FutureFormat { found: 2, known: 1, .. }), "{told}");
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        std::fs::write(&path, before).unwrap();
    }
    assert_eq!(payloads(&mut open(dir.path()).spool), [(1, b"one".to_vec())]);
}

#[test]
fn the_format_of_a_segment_is_version_1() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path()).spool;
    append(&mut spool, b"abc");
    drop(spool);
    let bytes = std::fs::read(dir.path().join(segment_name(dir.path()))).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = include_str!("golden/segment-1.hex").replace(char::is_whitespace, "");
    assert_eq!(hex, golden, "a change of the format needs a new version and a new golden file");
    let mut spool = open(dir.path()).spool;
    assert_eq!(payloads(&mut spool), [(1, b"abc".to_vec())], "and what is stored can be read");
}

/// A schedule of appends, acknowledgements, reads, torn writes and restarts against a map.
#[test]
fn any_schedule_gives_what_a_map_gives() {
    for seed in 1..=15_u64 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open_with(dir.path(), 60_000, 3_000).spool;
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut next = 1;
        for step in 0..400 {
            let context = format!("seed {seed}, step {step}");
            match random.below(100) {
                0..60 => {
                    let payload = vec![random.below(256) as u8; random.below(700) as usize];
                    match spool.append(Monotonic::from_nanos(0), BOOT, &payload) {
                        Ok(sequence) => {
                            assert_eq!(sequence, next, "{context}");
                            model.insert(next, payload);
                            next += 1;
                        }
                        Err(SpoolError::Full { .. }) => {
                            assert!(spool.bytes() + 740 > 60_000, "{context}");
                        }
                        Err(error) => panic!("{context}: {error}"),
                    }
                }
                60..75 if next > 1 => {
                    let through = 1 + random.below(next - 1);
                    spool.acknowledge(through).unwrap();
                    model.retain(|sequence, _| *sequence > through);
                }
                75..85 if !model.is_empty() => {
                    let from =
                        *model.keys().nth(random.below(model.len() as u64) as usize).unwrap();
                    let frames = spool.read_from(from, random.below(3_000) as usize).unwrap();
                    assert!(!frames.is_empty(), "{context}");
                    for (frame, expected) in frames.iter().zip(model.range(from..)) {
                        assert_eq!((&frame.sequence, &frame.payload), expected, "{context}");
                    }
                }
                85..95 => {
                    drop(spool);
                    if random.below(2) == 0 {
                        tear(dir.path(), &mut random);
                    }
                    let opened = open_with(dir.path(), 60_000, 3_000);
                    spool = opened.spool;
                    assert_eq!(opened.recovery.lost_frames, 0, "{context}");
                    assert!(!opened.recovery.rolled_back, "{context}");
                }
                _ => {
                    let held: Vec<_> = model.clone().into_iter().collect();
                    assert_eq!(payloads(&mut spool), held, "{context}");
                    assert_eq!(spool.next(), next, "{context}");
                }
            }
        }
    }
}

/// Puts the beginning of a frame behind the last one, as a process that died in a write would.
fn tear(dir: &Path, random: &mut Random) {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    names.sort();
    let last = names.pop().unwrap();
    let frame = frame::encode(random.below(9), Monotonic::from_nanos(0), BOOT, b"torn").unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend_from_slice(&frame[..random.below(frame.len() as u64) as usize]);
    std::fs::write(&last, bytes).unwrap();
}

/// xorshift: a schedule is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
