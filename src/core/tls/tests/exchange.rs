//! Two ends that speak to one another, with everything that may come between.

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// An end sends so many bytes.
    Send { server: bool, bytes: usize },
    /// Some of what is under way arrives, in pieces of this size, at a reader with this much room.
    Arrive {
        server: bool,
        piece: usize,
        room: usize,
    },
    /// An end changes its keys, and asks for the same or not.
    Update { server: bool, request: bool },
    /// An end goes to another process.
    Move { server: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![0..200_usize, Just(DATA_MAX), 0..70_000_usize];
    let piece = prop_oneof![1..8_usize, 1..3000_usize, Just(60_000_usize)];
    let room = prop_oneof![1..20_usize, 1..20_000_usize, Just(BUFFER_BYTES)];
    prop_oneof![
        3 => (any::<bool>(), bytes).prop_map(|(server, bytes)| Step::Send { server, bytes }),
        4 => (any::<bool>(), piece, room)
            .prop_map(|(server, piece, room)| Step::Arrive { server, piece, room }),
        1 => any::<(bool, bool)>()
            .prop_map(|(server, request)| Step::Update { server, request }),
        2 => any::<bool>().prop_map(|server| Step::Move { server }),
    ]
}

/// One end, what is under way to it, and what it has to get and got.
struct End {
    connection: Connection,
    under_way: Vec<u8>,
    sent_to_it: Vec<u8>,
    got: Vec<u8>,
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            under_way: Vec::new(),
            sent_to_it: Vec::new(),
            got: Vec::new(),
        }
    }

    /// Delivers up to 20,000 bytes.
    fn arrive(&mut self, piece: usize, room: usize) {
        let some = self.under_way.len().min(20_000);
        let arriving: Vec<u8> = self.under_way.drain(..some).collect();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut into = vec![0; room];
        for chunk in arriving.chunks(piece) {
            loop {
                let data = self.connection.take_data(&mut into);
                self.got.extend(&into[..data]);
                if data == 0 && !self.connection.has_record() {
                    break;
                }
                if data == 0 {
                    self.open(&mut buffer, &[], &mut into);
                }
            }
            self.open(&mut buffer, chunk, &mut into);
        }
        self.drain(&mut buffer, &mut into);
    }

    fn drain(&mut self, buffer: &mut [u8], into: &mut [u8]) {
        loop {
            let data = self.connection.take_data(into);
            self.got.extend(&into[..data]);
            if data == 0 {
                if !self.connection.has_record() {
                    return;
                }
                self.open(buffer, &[], into);
            }
        }
    }

    fn open(&mut self, buffer: &mut [u8], chunk: &[u8], into: &mut [u8]) {
        let loaded = self.connection.load(buffer);
        let filled = loaded + chunk.len();
        buffer[loaded..filled].copy_from_slice(chunk);
        let mut turn = self.connection.turn().expect("not frozen");
        let data = turn.receive(&mut buffer[..filled], into);
        self.got.extend(&into[..data]);
        assert_eq!(self.connection.ended(), None, "a well-meaning peer");
    }
}

fn run(version: Version, suite: Suite, steps: &[Step]) {
    let (client, server) = pair(version, suite);
    let mut ends = [End::new(client), End::new(server)];
    let mut next = 0_u8;
    for step in steps {
        let [client, server] = &mut ends;
        let (this, other) = match step {
            Step::Send { server: true, .. }
            | Step::Arrive { server: true, .. }
            | Step::Update { server: true, .. }
            | Step::Move { server: true } => (server, client),
            _ => (client, server),
        };
        match *step {
            Step::Send { bytes, .. } => {
                let data: Vec<u8> = (0..bytes).map(|at| next.wrapping_add(at as u8)).collect();
                next = next.wrapping_add(31);
                other.under_way.extend(sealed(&mut this.connection, &data));
                other.sent_to_it.extend(data);
            }
            Step::Arrive { piece, room, .. } => {
                this.arrive(piece, room);
                if this.connection.owes() {
                    let mut out = Vec::new();
                    let mut turn = this.connection.turn().expect("not frozen");
                    turn.answer(&mut out).expect("open");
                    other.under_way.extend(out);
                    assert!(!this.connection.owes(), "once");
                }
            }
            Step::Update { request, .. } if version == Version::V1_3 => {
                let message = [24, 0, 0, 1, u8::from(request)];
                let changed = record(&mut this.connection, 22, &message);
                other.under_way.extend(changed);
                this.connection.turn().expect("not frozen").update_sending();
                // The bound on changes without data is another test's.
                other.under_way.extend(sealed(&mut this.connection, b"x"));
                other.sent_to_it.push(b'x');
            }
            Step::Update { .. } => {}
            Step::Move { .. } => {
                let packed = this.connection.pack().expect("open");
                assert!(this.connection.turn().is_none(), "frozen");
                this.connection = Connection::unpack(&packed).expect("packed just now");
            }
        }
    }
    for end in &mut ends {
        while !end.under_way.is_empty() {
            end.arrive(60_000, BUFFER_BYTES);
        }
        assert!(end.got == end.sent_to_it, "{version:?} {suite:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everything_arrives_once_and_in_order_whatever_comes_between(
        which in 0..ALL.len(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (version, suite) = ALL[which];
        run(version, suite, &steps);
    }
}

#[test]
fn a_message_of_the_longest_record_fits_every_suite() {
    for (version, suite) in ALL {
        let (mut client, mut server) = pair(version, suite);
        let data = vec![5; 3 * DATA_MAX + 17];
        let records = sealed(&mut client, &data);
        assert!(records.len() <= data.len() + 4 * RECORD_OVERHEAD_MAX);
        assert_eq!(received(&mut server, &records), data);
    }
}

#[test]
fn an_idle_connection_holds_nothing_but_its_keys() {
    for (version, suite) in ALL {
        let (mut client, mut server) = pair(version, suite);
        let records = sealed(&mut client, &[1; 100_000]);
        received(&mut server, &records);
        let held = [&server.ciphertext, &server.data, &server.unsent].map(Vec::capacity);
        assert_eq!(held, [0; 3], "{version:?} {suite:?}");
        assert!(
            size_of::<Connection>() <= 512,
            "{}",
            size_of::<Connection>()
        );
    }
}
