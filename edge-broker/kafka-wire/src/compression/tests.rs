//! Each codec gives back what it took, speaks with the libraries others use, and keeps to the cap.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] = Compression::ALL;

fn compress(codec: Compression, plain: &[u8]) -> Vec<u8> {
    if codec == Compression::None {
        return plain.to_vec();
    }
    Compressor::default().compress(codec, plain).to_vec()
}

fn decompress(codec: Compression, from: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let mut plain = Vec::new();
    super::decompress(codec, from, &mut plain, bytes_max)?;
    Ok(plain)
}

/// Text that repeats itself without being trivial.
fn telemetry(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(bytes + 64);
    while text.len() < bytes {
        let value = rng.u32(..100_000);
        write!(
            text,
            "{{\"sensor\":\"hall-{}\",\"value\":{value}}}",
            value % 17
        )
        .unwrap();
    }
    text.truncate(bytes);
    text
}

#[test]
fn names_and_numbers_are_those_of_kafka() {
    for (number, name) in ["none", "gzip", "snappy", "lz4", "zstd"]
        .into_iter()
        .enumerate()
    {
        let codec = Compression::from_number(number as i16).unwrap();
        assert_eq!(
            (codec.to_string(), name.parse()),
            (name.to_owned(), Ok(codec))
        );
    }
    assert_eq!(Compression::from_number(5), None);
    assert_eq!(Compression::from_number(-1), None);
    assert!("LZ5".parse::<Compression>().unwrap_err().ends_with(": LZ5"));
}

#[test]
fn every_codec_gives_back_what_it_took_at_every_block_edge() {
    let sizes = [
        1000,
        32 << 10,
        65_534,
        65_535,
        65_536,
        65_537,
        256 << 10,
        (1 << 20) + 1,
    ];
    for codec in CODECS {
        for size in sizes.into_iter().chain([(4 << 20) + 3]) {
            let plain = telemetry(size);
            let compressed = compress(codec, &plain);
            assert!(codec == Compression::None || compressed.len() < size);
            assert!(
                decompress(codec, &compressed, size).unwrap() == plain,
                "{codec} {size}"
            );
        }
    }
}

#[test]
fn a_byte_over_the_cap_is_refused_by_every_codec() {
    let plain = telemetry(100_000);
    for codec in CODECS {
        let compressed = compress(codec, &plain);
        let refused = decompress(codec, &compressed, plain.len() - 1);
        let decompressed_bytes_max = plain.len() - 1;
        assert_eq!(
            refused,
            Err(BatchError::TooLarge {
                decompressed_bytes_max
            }),
            "{codec}"
        );
    }
}

#[test]
fn a_bomb_allocates_no_more_than_the_cap() {
    let bomb = vec![0; 256 << 20];
    for codec in CODECS.into_iter().skip(1) {
        let compressed = compress(codec, &bomb);
        assert!(compressed.len() < bomb.len() / 20, "{codec}");
        let mut plain = Vec::new();
        let bytes_max = 1 << 20;
        let result = super::decompress(codec, &compressed, &mut plain, bytes_max);
        assert!(
            matches!(result, Err(BatchError::TooLarge { .. })),
            "{codec} {result:?}"
        );
        assert!(
            plain.capacity() <= 4 * bytes_max,
            "{codec} {}",
            plain.capacity()
        );
    }
}

#[test]
fn lz4_frames_are_read_and_written_as_the_reference_library_does() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    for size in [10, 60_000, 70_000, 300_000, 1_500_000, 5_000_000] {
        let plain = telemetry(size);
        let mut theirs = Vec::new();
        FrameDecoder::new(&compress(Compression::Lz4, &plain)[..])
            .read_to_end(&mut theirs)
            .unwrap();
        assert!(theirs == plain, "our frame of {size} bytes");
        for mode in [BlockMode::Independent, BlockMode::Linked] {
            let info = FrameInfo::new()
                .block_mode(mode)
                .block_size(BlockSize::Max64KB)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(size as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&plain).unwrap();
            let theirs = encoder.finish().unwrap();
            assert!(
                decompress(Compression::Lz4, &theirs, size).unwrap() == plain,
                "{size}"
            );
        }
    }
}

#[test]
fn gzip_is_read_by_an_ordinary_decoder() {
    let plain = telemetry(200_000);
    let mut theirs = Vec::new();
    flate2::read::GzDecoder::new(&compress(Compression::Gzip, &plain)[..])
        .read_to_end(&mut theirs)
        .unwrap();
    assert!(theirs == plain);
}

#[test]
fn bare_snappy_is_read_too() {
    let plain = telemetry(100_000);
    let bare = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert!(decompress(Compression::Snappy, &bare, plain.len()).unwrap() == plain);
}

#[test]
fn a_zstd_stream_that_states_no_size_is_read_within_the_cap() {
    let plain = telemetry(300_000);
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(&plain).unwrap();
    let stream = encoder.finish().unwrap();
    assert!(decompress(Compression::Zstd, &stream, plain.len()).unwrap() == plain);
    assert!(decompress(Compression::Zstd, &stream, usize::MAX).unwrap() == plain);
    let refused = decompress(Compression::Zstd, &stream, plain.len() - 1);
    assert!(
        matches!(refused, Err(BatchError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_claimed_length_beyond_reason_allocates_nothing() {
    // Snappy: the varint says 4 GiB, one byte follows.
    let refused = decompress(
        Compression::Snappy,
        &[0xff, 0xff, 0xff, 0xff, 0x0f, 0],
        1 << 30,
    );
    assert!(
        matches!(
            refused,
            Err(BatchError::Compressed {
                codec: "snappy",
                ..
            })
        ),
        "{refused:?}"
    );
    // LZ4: a block length of 2 GiB in a frame of a few bytes.
    let mut lz4 = compress(Compression::Lz4, b"abc");
    lz4[7..11].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    let refused = decompress(Compression::Lz4, &lz4, 1 << 30);
    assert!(
        matches!(refused, Err(BatchError::Compressed { codec: "lz4", .. })),
        "{refused:?}"
    );
}

#[test]
fn a_zstd_frame_that_states_a_size_it_does_not_have_gets_no_room_for_it() {
    let mut frame = compress(Compression::Zstd, &telemetry(100_000));
    // Descriptor: content size of four bytes, single segment; the size follows it.
    assert_eq!(frame[4] >> 6, 2);
    frame[5..9].copy_from_slice(&(512_u32 << 20).to_le_bytes());
    let mut plain = Vec::new();
    let refused = super::decompress(Compression::Zstd, &frame, &mut plain, 1 << 30);
    assert!(
        matches!(refused, Err(BatchError::Compressed { codec: "zstd", .. })),
        "{refused:?}"
    );
    assert!(plain.capacity() < 4 << 20, "{}", plain.capacity());
}

#[test]
fn a_zstd_batch_that_shrinks_beyond_expectation_comes_back() {
    let plain = vec![b'x'; 3 << 20];
    let compressed = compress(Compression::Zstd, &plain);
    assert!(compressed.len() * 32 < plain.len());
    assert!(decompress(Compression::Zstd, &compressed, plain.len()).unwrap() == plain);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_keep_to_the_cap(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        codec in 0_usize..5,
    ) {
        if let Ok(plain) = decompress(CODECS[codec], &bytes, 1000) {
            prop_assert!(plain.len() <= 1000);
        }
    }

    #[test]
    fn a_damaged_stream_never_panics_and_keeps_to_the_cap(
        size in 100_usize..3000,
        at in any::<proptest::sample::Index>(),
        damage in 1_u8..,
        codec in 1_usize..5,
    ) {
        let mut bytes = compress(CODECS[codec], &telemetry(size));
        let at = at.index(bytes.len());
        bytes[at] ^= damage;
        if let Ok(plain) = decompress(CODECS[codec], &bytes, 4000) {
            prop_assert!(plain.len() <= 4000);
        }
    }
}
