use super::*;
use crate::blosc::{ChunkHeader, decompress, decompress_metadata};

const CHUNK: usize = 4096;

fn content(chunk: u16) -> Vec<u8> {
    (0..1024).flat_map(|i| f32::from(i * (chunk + 1)).sqrt().to_le_bytes()).collect()
}

/// A frame of three chunks of data with holes between them and a chunk of zeros after the first.
fn frame(compression: Compression, vlstore_magic: bool, n_zero_chunks: usize) -> Vec<u8> {
    let (mut file, content_at) = write_header(compression, CHUNK, vlstore_magic);
    file[content_at..].fill(0xa5);
    let mut encoder = Encoder::new(compression, 1024).unwrap();
    let mut offsets = vec![];
    for chunk in 0..3u16 {
        file.extend((0..100 * chunk).flat_map(|i| (i * i).to_le_bytes()));
        offsets.push(i64::try_from(file.len() - HEADER_LEN).unwrap());
        file.extend(encoder.compress(&content(chunk)).unwrap());
        if chunk == 0 {
            offsets.extend(vec![ZERO_CHUNK_OFFSET; n_zero_chunks]);
        }
    }
    let chunks_len = (file.len() - HEADER_LEN) as u64;
    file.extend(offsets_chunk(&offsets).unwrap());
    let vlmeta = [
        ("answer".to_owned(), vlmeta_content(&[42]).unwrap()),
        ("note".to_owned(), vlmeta_content(&[&b"\xd9\xc8"[..], &[b'x'; 200]].concat()).unwrap()),
    ];
    file.extend(trailer(&vlmeta, *b"sixteen  bytes !"));
    let (at, update) =
        header_update(compression, file.len() as u64, (offsets.len() * CHUNK) as u64, chunks_len);
    file[at..at + update.len()].copy_from_slice(&update);
    file
}

fn compressions() -> Vec<Compression> {
    let of = |codec, filter, typesize| Compression { codec, level: 1, filter, typesize: Some(typesize) };
    vec![
        of(CompressionCodec::Zstd, Filter::Shuffle, 4),
        of(CompressionCodec::Lz4, Filter::Bitshuffle, 1),
        of(CompressionCodec::Blosclz, Filter::None, 8),
        Compression { level: 0, ..of(CompressionCodec::None, Filter::Shuffle, 4) },
    ]
}

#[test]
fn a_frame_comes_back() {
    for compression in compressions() {
        for vlstore_magic in [false, true] {
            let file = frame(compression, vlstore_magic, 1);
            let header = parse_header(&file).unwrap();
            assert_eq!(header, parse_header(&file[..HEADER_LEN]).unwrap());
            assert_eq!((header.header_len, header.frame_len), (HEADER_LEN, file.len() as u64));
            let stored = (header.compression.clone(), header.typesize);
            assert_eq!(stored, (Ok(compression), compression.typesize()));
            assert_eq!((header.chunk_size, header.block_size, header.has_vlmeta), (4096, 0, true));
            assert_eq!(header.raw_len, 4 * 4096);
            let magic = header.metalayer(VLSTORE_LAYER).map(|range| &file[range]);
            assert_eq!(magic, vlstore_magic.then_some(&VLSTORE_MAGIC[..]));
            let ours = header.metalayer(DEPOT_LAYER).unwrap();
            assert!(ours.end == HEADER_LEN && file[ours].iter().all(|&byte| byte == 0xa5));

            let trailer_len = trailer_len(&file).unwrap();
            let trailer = &file[file.len() - trailer_len..];
            let vlmeta = parse_trailer(trailer).unwrap();
            assert!(trailer.ends_with(b"\xd8\x03sixteen  bytes !"));
            assert_eq!((vlmeta[0].0.as_str(), vlmeta[1].0.as_str()), ("answer", "note"));
            assert_eq!(decompress_metadata(&trailer[vlmeta[0].1.clone()], 10).unwrap(), [42]);

            let offsets = HEADER_LEN + usize::try_from(header.chunks_len).unwrap();
            let offsets = decompress_metadata(&file[offsets..file.len() - trailer_len], 32).unwrap();
            let offset = |i: usize| i64::from_le_bytes(offsets[8 * i..8 * i + 8].try_into().unwrap());
            assert_eq!(offset(1), ZERO_CHUNK_OFFSET);
            for (chunk, i) in [(0, 0), (1, 2), (2, 3)] {
                let stored = &file[HEADER_LEN + usize::try_from(offset(i)).unwrap()..];
                let stored = &stored[..ChunkHeader::parse(stored).unwrap().stored_len];
                let mut raw = vec![0; CHUNK];
                decompress(stored, &mut raw).unwrap();
                assert_eq!(raw, content(chunk));
            }
        }
    }
}

#[test]
fn an_empty_frame_is_a_header_and_a_trailer() {
    let (header, content_at) = write_header(Compression::default(), CHUNK, true);
    assert_eq!(header.len(), HEADER_LEN);
    assert!(header[content_at..].iter().all(|&byte| byte == 0));
    let parsed = parse_header(&header).unwrap();
    assert_eq!(parsed.metalayer(DEPOT_LAYER), Some(content_at..HEADER_LEN));
    let empty = trailer(&[], [0; 16]);
    assert_eq!((parsed.frame_len, parsed.raw_len), ((HEADER_LEN + empty.len()) as u64, 0));
    assert_eq!(parse_trailer(&empty), Some(vec![]));
}

#[test]
fn offsets_of_any_number_come_back() {
    for n in [1, 2, 3, 4, 5, 2047, 2048, 2049, 4096, 200_001] {
        for offsets in [
            (0..n).map(|i| 4096 + i * 1_234_567).collect::<Vec<i64>>(),
            vec![ZERO_CHUNK_OFFSET; usize::try_from(n).unwrap()],
            vec![0; usize::try_from(n).unwrap()],
        ] {
            let raw = decompress_metadata(&offsets_chunk(&offsets).unwrap(), offsets.len() * 8).unwrap();
            let back: Vec<_> =
                raw.chunks_exact(8).map(|le| i64::from_le_bytes(le.try_into().unwrap())).collect();
            assert!(back == offsets, "{n} offsets");
        }
    }
}

#[test]
fn vlmeta_contents_of_any_length_come_back() {
    for len in [1, 2, 7, 8, 31, 32, 33, 100, 4096, 100_001] {
        let raw: Vec<u8> = (0..len).map(|i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        assert_eq!(decompress_metadata(&vlmeta_content(&raw).unwrap(), raw.len()).unwrap(), raw);
    }
}

#[test]
fn damaged_bytes_are_refused_or_parsed_but_never_panic() {
    let file = frame(Compression::default(), true, 1);
    let trailer_at = file.len() - trailer_len(&file).unwrap();
    for at in (0..200).chain(HEADER_LEN - 8..HEADER_LEN) {
        assert!(parse_header(&file[..at]).is_err());
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = file[..HEADER_LEN].to_vec();
            damaged[at] = value;
            if let Ok(header) = parse_header(&damaged) {
                assert!(header.metalayers.iter().all(|(_, range)| range.end <= HEADER_LEN));
            }
        }
    }
    for at in trailer_at..file.len() {
        assert_eq!(parse_trailer(&file[trailer_at..at]), None);
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = file[trailer_at..].to_vec();
            damaged[at - trailer_at] = value;
            let _ = parse_trailer(&damaged);
        }
    }
    assert!(parse_header(b"PK\x03\x04").unwrap_err().contains("PK"));
}
