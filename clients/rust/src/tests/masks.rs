use ndarray::{Array2, arr2};

use super::tensor;
use crate::proto::{DType, Mask, PromptMasks, Rle, RunLengths, mask::Segmentation, rle::Runs};
use crate::{mask, prompt_masks, run_lengths};

/// The mask of all forms below: its runs 1, 3, 2 go down the columns.
fn pixels() -> Array2<bool> {
    arr2(&[[false, true, false], [true, true, false]])
}

fn lengths(height: u32, width: u32, counts: &[u32]) -> Rle {
    Rle { height, width, runs: Some(Runs::Lengths(RunLengths { counts: counts.to_vec() })) }
}

fn coco(height: u32, width: u32, text: &str) -> Rle {
    Rle { height, width, runs: Some(Runs::Coco(text.to_owned())) }
}

fn file(color: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    let mut encoder = png::Encoder::new(&mut written, 3, 2);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    written
}

fn one_bit() -> Vec<u8> {
    file(png::ColorType::Grayscale, png::BitDepth::One, &[0x40, 0xc0])
}

#[test]
fn every_form_of_a_mask_gives_its_pixels() {
    let floats: Vec<u8> = [0.0_f32, 1.0, 0.0, 1.0, 1.0, 0.0].iter().flat_map(|each| each.to_le_bytes()).collect();
    for segmentation in [
        Segmentation::Bitmap(tensor(DType::Bits, &[2, 3], [0x40, 0xc0])),
        Segmentation::Bitmap(tensor(DType::Uint8, &[2, 3], [0, 9, 0, 1, 1, 0])),
        Segmentation::Bitmap(tensor(DType::Float32, &[2, 3], floats)),
        Segmentation::Rle(lengths(2, 3, &[1, 3, 2])),
        Segmentation::Rle(coco(2, 3, "132")),
        Segmentation::Png(one_bit().into()),
        Segmentation::Png(file(png::ColorType::Indexed, png::BitDepth::One, &[0x40, 0xc0]).into()),
        Segmentation::Png(file(png::ColorType::Grayscale, png::BitDepth::Eight, &[0, 1, 0, 255, 9, 0]).into()),
    ] {
        let form = format!("{segmentation:?}");
        let found = mask(&Mask { segmentation: Some(segmentation), ..Mask::default() });
        assert_eq!(found, Ok(pixels()), "{form}");
    }
}

#[test]
fn masks_of_a_prompt_are_stacked() {
    let bits = tensor(DType::Bits, &[2, 2, 3], [0x40, 0xc0, 0x40, 0xc0]);
    for reply in [
        PromptMasks { masks: Some(bits), ..PromptMasks::default() },
        PromptMasks { rle: vec![lengths(2, 3, &[1, 3, 2]); 2], ..PromptMasks::default() },
        PromptMasks { png: vec![one_bit().into(); 2], ..PromptMasks::default() },
    ] {
        let found = prompt_masks(&reply).unwrap();
        assert_eq!(found.shape(), [2, 2, 3]);
        assert_eq!(found.index_axis(ndarray::Axis(0), 1), pixels());
    }
    assert!(prompt_masks(&PromptMasks::default()).is_err());
    let unequal = vec![lengths(2, 3, &[6]), lengths(3, 2, &[6])];
    assert!(prompt_masks(&PromptMasks { rle: unequal, ..PromptMasks::default() }).is_err());
}

#[test]
fn long_and_shrinking_runs_are_read_from_cocos_text() {
    // As pycocotools writes the runs 1000, 2000, 3000, 500, 40: the fourth is -1500 beside the second.
    let found = run_lengths(&coco(1, 6540, "Xo0`n1hm2TaN`SM")).unwrap();
    let runs = [(false, 1000), (true, 2000), (false, 3000), (true, 500), (false, 40)];
    let expected: Vec<bool> = runs.iter().flat_map(|(set, count)| vec![*set; *count]).collect();
    assert_eq!(found.into_raw_vec_and_offset().0, expected);
}

#[test]
fn a_mask_that_does_not_fit_its_size_is_an_error() {
    assert_eq!(run_lengths(&lengths(0, 3, &[0, 0])).unwrap().shape(), [0, 3]);
    for bad in [
        lengths(2, 3, &[1, 2]),
        lengths(2, 3, &[1, 9]),
        coco(2, 3, "13R"),
        coco(2, 3, "1O"),
        Rle { height: 2, width: 3, runs: None },
    ] {
        assert!(run_lengths(&bad).is_err(), "{bad:?}");
    }
    assert!(mask(&Mask::default()).is_err());
    let no_file = Some(Segmentation::Png(b"no file".to_vec().into()));
    assert!(mask(&Mask { segmentation: no_file, ..Mask::default() }).is_err());
}
