use std::f32::consts;

use ndarray::arr1;

use super::tensor;
use crate::proto::{DType, DinoServiceExtractFeaturesResponse as Reply, Rounding, Tensor};
use crate::tensor::widened;
use crate::{Element, decode, features, floats};

fn decoded<T: Element + PartialEq + std::fmt::Debug>(dtype: DType, data: &[u8], expected: &[T]) {
    let found = decode::<T>(&tensor(dtype, &[expected.len() as u32], data)).unwrap();
    assert_eq!(found, arr1(expected).into_dyn());
}

#[test]
fn every_element_type_becomes_an_array() {
    decoded(DType::Float32, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], &[1.0_f32, -2.0]);
    decoded(DType::Bfloat16, &[0x80, 0x3f, 0, 0xc0], &[1.0_f32, -2.0]);
    decoded(DType::Float16, &[0, 0x3c, 0, 0xc0], &[1.0_f32, -2.0]);
    decoded(DType::Uint8, &[0, 255], &[0_u8, 255]);
    decoded(DType::Int8, &[127, 128], &[127_i8, -128]);
    decoded(DType::Uint16, &[1, 0, 0, 0xff], &[1_u16, 0xff00]);
    decoded(DType::Int64, &[0xfe, 255, 255, 255, 255, 255, 255, 255], &[-2_i64]);
    decoded(DType::Bool, &[0, 1], &[false, true]);
}

#[test]
fn each_row_of_bits_starts_on_a_byte() {
    let found = decode::<bool>(&tensor(DType::Bits, &[2, 10], [0x80, 0x40, 0, 0x80])).unwrap();
    let set: Vec<_> = found.indexed_iter().filter(|each| *each.1).map(|each| (each.0[0], each.0[1])).collect();
    assert_eq!(set, [(0, 0), (0, 9), (1, 8)]);
    assert_eq!(decode::<bool>(&tensor(DType::Bits, &[2, 0], [])).unwrap().shape(), [2, 0]);
    assert_eq!(decode::<bool>(&tensor(DType::Bits, &[], [0x80])).unwrap().first(), Some(&true));
}

#[test]
fn half_precision_is_widened_exactly() {
    let least = 2.0_f32.powi(-24);
    let known = [
        (0x0000, 0.0),
        (0x8000, -0.0),
        (0x3c00, 1.0),
        (0x7bff, 65504.0),
        (0x0001, least),
        (0x03ff, 1023.0 * least),
        (0x0400, 2.0_f32.powi(-14)),
        (0x8001, -least),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
    ];
    for (half, expected) in known {
        assert_eq!(widened(half).to_bits(), f32::to_bits(expected), "{half:x}");
    }
    assert!(widened(0x7e01).is_nan());
}

#[test]
fn integers_are_multiplied_by_the_scale_of_their_channel() {
    let factors: Vec<u8> = [consts::PI, consts::E].iter().flat_map(|each| each.to_le_bytes()).collect();
    let scaled = |data: [u8; 4], shape: &[u32]| {
        let rounding = Rounding { scale: Some(tensor(DType::Float32, shape, factors.clone())), ..Rounding::default() };
        let features_tensor = Some(tensor(DType::Int8, &[2, 1, 2], data));
        let found = features(&Reply { features: features_tensor, rounding: Some(rounding), ..Reply::default() });
        found.unwrap().into_raw_vec_and_offset().0
    };
    assert_eq!(
        scaled([3, 3, 253, 253], &[2]),
        [3.0 * consts::PI, 3.0 * consts::E, -3.0 * consts::PI, -3.0 * consts::E]
    );
    let first = scaled([3, 253, 3, 253], &[2, 1, 1]);
    assert_eq!(first, [3.0 * consts::PI, -3.0 * consts::PI, 3.0 * consts::E, -3.0 * consts::E]);
    let without = Reply { features: Some(tensor(DType::Int8, &[1], [1])), ..Reply::default() };
    assert!(features(&without).is_err());
}

#[test]
fn a_tensor_that_does_not_fit_its_shape_is_an_error() {
    assert!(floats(&tensor(DType::Float32, &[2], [0; 7])).is_err());
    assert!(floats(&tensor(DType::Float32, &[2], [0; 9])).is_err());
    assert!(floats(&Tensor { dtype: 99, ..Tensor::default() }).is_err());
    assert!(floats(None).is_err());
    assert!(floats(&tensor(DType::Float32, &[1 << 31, 1 << 31, 1 << 31], [])).is_err());
    assert!(decode::<bool>(&tensor(DType::Uint8, &[1], [1])).is_err());
    assert_eq!(floats(&tensor(DType::Uint8, &[1], [9])).unwrap().first(), Some(&9.0));
}
