//! Ethernet frames with IPv4 and TCP inside: who sent them, their checksums, and resets.

/// From the Ethernet header to the last flag of TCP.
const ETHERNET: usize = 14;
const TCP_MIN: usize = 20;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The host with that number on the switch.
pub fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, host]
}

/// Sender and addressee, where both are hosts of the switch.
pub fn route(frame: &[u8]) -> Option<(u8, u8)> {
    let host = |at: usize| {
        let address = frame.get(at..at + 6)?;
        (address[..5] == mac(0)[..5]).then_some(address[5])
    };
    Some((host(6)?, host(0)?))
}

/// Where TCP begins and where the packet ends; `None` for anything else.
fn tcp(frame: &[u8]) -> Option<(usize, usize)> {
    if frame.len() < ETHERNET + 20 || frame[12..14] != [8, 0] || frame[ETHERNET + 9] != 6 {
        return None;
    }
    let begin = ETHERNET + 4 * usize::from(frame[ETHERNET] & 15);
    let end = ETHERNET + usize::from(u16::from_be_bytes([frame[ETHERNET + 2], frame[ETHERNET + 3]]));
    (begin + TCP_MIN <= end && end <= frame.len()).then_some((begin, end))
}

/// Writes the checksum of TCP: a virtual link leaves it to hardware that is not there.
pub fn finish(frame: &mut [u8]) {
    let Some((begin, end)) = tcp(frame) else { return };
    frame[begin + 16..begin + 18].fill(0);
    let length = u16::try_from(end - begin).unwrap_or(u16::MAX);
    let pseudo = sum(&frame[ETHERNET + 12..ETHERNET + 20]) + 6 + u32::from(length);
    let folded = fold(pseudo + sum(&frame[begin..end]));
    frame[begin + 16..begin + 18].copy_from_slice(&(!folded).to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// A connection in one direction: the ports of sender and addressee.
pub type Ports = (u16, u16);

/// The connection that a frame belongs to, and a frame that resets it at the addressee once this one has arrived; `None` in
/// its place if this frame ends the connection.
pub fn connection(frame: &[u8]) -> Option<(Ports, Option<Vec<u8>>)> {
    let (begin, end) = tcp(frame)?;
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let flags = frame[begin + 13];
    let next = number(frame, begin + 4).wrapping_add(length(frame, begin, end));
    let reset = reset(frame, begin, false, next, number(frame, begin + 8), RST | flags & ACK);
    Some(((port(begin), port(begin + 2)), (flags & RST == 0).then_some(reset)))
}

fn number(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// What a packet adds to the sequence: its data, and one for SYN and FIN each.
fn length(frame: &[u8], begin: usize, end: usize) -> u32 {
    let (data, flags) = (end - begin - 4 * usize::from(frame[begin + 12] >> 4), frame[begin + 13]);
    u32::try_from(data).unwrap_or(0) + u32::from(flags & 1) + u32::from(flags >> 1 & 1)
}

/// The resets that a frame of TCP provokes: one back to its sender, and one on to its addressee. None for a reset.
pub fn resets(frame: &[u8]) -> Option<[Vec<u8>; 2]> {
    let (begin, end) = tcp(frame)?;
    let flags = frame[begin + 13];
    if flags & RST != 0 {
        return None;
    }
    let length = length(frame, begin, end);
    let (sequence, acknowledged) = (number(frame, begin + 4), number(frame, begin + 8));
    // RFC 9293, 3.5.2: a reset has the number that the other side expects next.
    let back = match flags & ACK {
        0 => reset(frame, begin, true, 0, sequence.wrapping_add(length), RST | ACK),
        _ => reset(frame, begin, true, acknowledged, sequence.wrapping_add(length), RST | ACK),
    };
    Some([back, reset(frame, begin, false, sequence, acknowledged, RST | flags & ACK)])
}

fn reset(frame: &[u8], begin: usize, back: bool, sequence: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    let mut made = frame[..ETHERNET + 20].to_vec();
    made.extend_from_slice(&frame[begin..begin + TCP_MIN]);
    let tcp = ETHERNET + 20;
    if back {
        made[..6].copy_from_slice(&frame[6..12]);
        made[6..12].copy_from_slice(&frame[..6]);
        made[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&frame[ETHERNET + 16..ETHERNET + 20]);
        made[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&frame[ETHERNET + 12..ETHERNET + 16]);
        made[tcp..tcp + 2].copy_from_slice(&frame[begin + 2..begin + 4]);
        made[tcp + 2..tcp + 4].copy_from_slice(&frame[begin..begin + 2]);
    }
    made[ETHERNET] = 0x45;
    made[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&40_u16.to_be_bytes());
    made[ETHERNET + 10..ETHERNET + 12].fill(0);
    let header = !fold(sum(&made[ETHERNET..ETHERNET + 20]));
    made[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&header.to_be_bytes());
    made[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    made[tcp + 8..tcp + 12].copy_from_slice(&acknowledged.to_be_bytes());
    made[tcp + 12] = 5 << 4;
    made[tcp + 13] = flags;
    made[tcp + 14..tcp + 20].fill(0);
    finish(&mut made);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From host 1, port 1000, to host 2, port 7300: three bytes after number 500, all before 900 received.
    fn frame() -> Vec<u8> {
        let mut frame = [mac(2), mac(1)].concat();
        frame.extend([8, 0, 0x45, 0, 0, 43, 0, 0, 0, 0, 64, 6, 0, 0, 10, 97, 0, 1, 10, 97, 0, 2]);
        frame.extend(1000_u16.to_be_bytes());
        frame.extend(7300_u16.to_be_bytes());
        frame.extend(500_u32.to_be_bytes());
        frame.extend(900_u32.to_be_bytes());
        frame.extend([5 << 4, ACK, 0, 64, 0, 0, 0, 0, 1, 2, 3]);
        frame
    }

    /// A packet with its checksum in place sums up to all ones.
    fn is_sound(frame: &[u8]) -> bool {
        let (begin, end) = tcp(frame).expect("TCP");
        let length = u32::try_from(end - begin).expect("short");
        fold(sum(&frame[ETHERNET + 12..ETHERNET + 20]) + 6 + length + sum(&frame[begin..end])) == 0xffff
    }

    #[test]
    fn a_frame_tells_its_way_and_gets_its_checksum() {
        let mut frame = frame();
        assert_eq!(route(&frame), Some((1, 2)));
        assert!(!is_sound(&frame));
        finish(&mut frame);
        assert!(is_sound(&frame));
    }

    #[test]
    fn resets_have_the_numbers_that_both_sides_expect() {
        let [back, on] = resets(&frame()).expect("TCP");
        assert!(is_sound(&back) && is_sound(&on));
        assert_eq!((route(&back), route(&on)), (Some((2, 1)), Some((1, 2))));
        let number = |frame: &[u8]| u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
        assert_eq!((number(&back), number(&on)), (900, 500));
        assert_eq!(back[34..38], [frame()[36], frame()[37], frame()[34], frame()[35]]);
        assert!(resets(&back).is_none(), "a reset is never answered");
        let (ports, later) = connection(&frame()).expect("TCP");
        let later = later.expect("it goes on");
        assert_eq!((ports, number(&later), is_sound(&later)), ((1000, 7300), 503, true));
        assert_eq!(connection(&back), Some(((7300, 1000), None)));
    }
}
