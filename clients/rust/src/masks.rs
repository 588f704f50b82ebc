use std::io::Cursor;

use ndarray::{Array2, Array3, Ix2, Ix3};

use crate::proto::{DType, Mask, PromptMasks, Rle, Tensor, mask::Segmentation, rle::Runs};
use crate::{Error, decode, floats};

/// The pixels of an automatic mask, height x width. Those of masks asked for as a label map stand in the reply's label map,
/// which [`decode`] reads as `u16`.
pub fn mask(mask: &Mask) -> Result<Array2<bool>, Error> {
    match &mask.segmentation {
        Some(Segmentation::Bitmap(tensor)) => bitmap(tensor)?.into_dimensionality::<Ix2>().map_err(Error::damaged),
        Some(Segmentation::Rle(rle)) => run_lengths(rle),
        Some(Segmentation::Png(png)) => png_mask(png),
        None => Err(Error::damaged("a mask without pixels; a label map may have them")),
    }
}

/// The masks of one prompt, masks x height x width, however they were encoded. Logits are no masks: [`floats`] of their
/// tensor reads them.
pub fn prompt_masks(reply: &PromptMasks) -> Result<Array3<bool>, Error> {
    if let Some(tensor) = &reply.masks {
        return bitmap(tensor)?.into_dimensionality::<Ix3>().map_err(Error::damaged);
    }
    let written = reply.rle.iter().map(run_lengths);
    let all = written.chain(reply.png.iter().map(|png| png_mask(png))).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() {
        return Err(Error::damaged("masks without pixels; a label map may have them"));
    }
    let views: Vec<_> = all.iter().map(|each| each.view()).collect();
    ndarray::stack(ndarray::Axis(0), &views).map_err(|_| Error::damaged("masks of different sizes"))
}

/// The pixels of a mask written as runs in column-major order, height x width.
///
/// The format is that of maskApi.c in cocodataset/cocoapi.
pub fn run_lengths(rle: &Rle) -> Result<Array2<bool>, Error> {
    let runs = match &rle.runs {
        Some(Runs::Lengths(lengths)) => lengths.counts.iter().map(|each| i64::from(*each)).collect(),
        Some(Runs::Coco(text)) => coco_runs(text).ok_or_else(|| Error::damaged("run lengths are cut off"))?,
        None => Vec::new(),
    };
    // Looked at before memory is taken: sizes come from outside.
    if let Some(bad) = runs.iter().find(|run| !(0..=i64::from(u32::MAX)).contains(*run)) {
        return Err(Error::damaged(format!("a run of {bad} pixels")));
    }
    let (height, width) = (rle.height as usize, rle.width as usize);
    let pixels: u64 = runs.iter().map(|run| *run as u64).sum();
    if Some(pixels) != u64::from(rle.height).checked_mul(u64::from(rle.width)) {
        return Err(Error::damaged(format!("runs of {pixels} pixels for a mask of {height} x {width}")));
    }
    let mut mask = Array2::from_elem((height, width), false);
    let mut at = 0;
    for (number, run) in runs.iter().enumerate() {
        let end = at + *run as usize;
        if number % 2 == 1 {
            // Runs go down the columns.
            for pixel in at..end {
                mask[(pixel % height, pixel / height)] = true;
            }
        }
        at = end;
    }
    Ok(mask)
}

/// COCO's compressed text: each count in groups of five bits, from the fourth on as the difference to the one two before.
fn coco_runs(text: &str) -> Option<Vec<i64>> {
    let mut runs: Vec<i64> = Vec::new();
    let (mut number, mut shift) = (0_i64, 0);
    for byte in text.bytes() {
        let group = i64::from(byte) - 48;
        number |= (group & 0x1f) << shift;
        shift += 5;
        if group & 0x20 != 0 && shift < 60 {
            continue;
        }
        if group & 0x10 != 0 {
            number |= -1 << shift;
        }
        if runs.len() > 2 {
            number = number.wrapping_add(runs[runs.len() - 2]);
        }
        runs.push(number);
        (number, shift) = (0, 0);
    }
    (shift == 0).then_some(runs)
}

/// True where a tensor of bits, booleans or numbers is above 0.
fn bitmap(tensor: &Tensor) -> Result<ndarray::ArrayD<bool>, Error> {
    match tensor.dtype() {
        DType::Bits | DType::Bool => decode(tensor),
        _ => Ok(floats(tensor)?.mapv(|each| each > 0.0)),
    }
}

fn png_mask(content: &[u8]) -> Result<Array2<bool>, Error> {
    let read = || -> Result<_, png::DecodingError> {
        let mut decoder = png::Decoder::new(Cursor::new(content));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info()?;
        let mut pixels = vec![0; reader.output_buffer_size().ok_or(png::DecodingError::LimitsExceeded)?];
        let about = reader.next_frame(&mut pixels)?;
        Ok((about, pixels))
    };
    let (about, pixels) = read().map_err(|error| Error::damaged(format!("no PNG of a mask: {error}")))?;
    let sample = if about.bit_depth == png::BitDepth::Sixteen { 2 } else { 1 };
    let pixel = sample * about.color_type.samples();
    let set = pixels.chunks_exact(pixel).map(|each| each[..sample].iter().any(|byte| *byte > 0)).collect();
    Array2::from_shape_vec((about.height as usize, about.width as usize), set).map_err(Error::damaged)
}
