use ndarray::ArrayD;

use crate::Error;
use crate::proto::{
    ClipServiceExtractFeaturesResponse, DType, DinoServiceExtractFeaturesResponse, EmbedPyramidResponse, ObjectVectors,
    Rounding, Tensor,
};

/// The reply of CLIP or DINO with dense features, or with a pyramid.
pub trait FeatureReply {
    /// The features as they were sent.
    fn features(&self) -> Option<&Tensor>;
    /// The same, to be filled.
    fn features_mut(&mut self) -> Option<&mut Tensor>;
    /// What rounding changed, and the factors of integers.
    fn rounding(&self) -> Option<&Rounding>;
}

macro_rules! feature_reply {
    ($($reply:ty),*) => {
        $(impl FeatureReply for $reply {
            fn features(&self) -> Option<&Tensor> {
                self.features.as_ref()
            }
            fn features_mut(&mut self) -> Option<&mut Tensor> {
                self.features.as_mut()
            }
            fn rounding(&self) -> Option<&Rounding> {
                self.rounding.as_ref()
            }
        })*
    };
}
feature_reply!(ClipServiceExtractFeaturesResponse, DinoServiceExtractFeaturesResponse, EmbedPyramidResponse);

/// The dense features of a reply, of whatever type they were sent.
pub fn features(reply: &impl FeatureReply) -> Result<ArrayD<f32>, Error> {
    restored(reply.features(), reply.rounding())
}

/// The vectors of all objects in one way, objects x channels, of whatever type they were sent.
pub fn vectors(way: &ObjectVectors) -> Result<ArrayD<f32>, Error> {
    restored(way.vectors.as_ref(), way.rounding.as_ref())
}

fn restored(tensor: Option<&Tensor>, rounding: Option<&Rounding>) -> Result<ArrayD<f32>, Error> {
    let tensor = present(tensor)?;
    if tensor.dtype() != DType::Int8 {
        return floats(tensor);
    }
    scaled(tensor, present(rounding.and_then(|rounding| rounding.scale.as_ref()))?)
}

/// The elements of a tensor of any number type as float32.
pub fn floats<'a>(tensor: impl Into<Option<&'a Tensor>>) -> Result<ArrayD<f32>, Error> {
    let tensor = present(tensor)?;
    match tensor.dtype() {
        DType::Uint8 => Ok(decode::<u8>(tensor)?.mapv(f32::from)),
        DType::Int8 => Ok(decode::<i8>(tensor)?.mapv(f32::from)),
        DType::Uint16 => Ok(decode::<u16>(tensor)?.mapv(f32::from)),
        DType::Int64 => Ok(decode::<i64>(tensor)?.mapv(|each| each as f32)),
        _ => decode(tensor),
    }
}

/// The elements of a tensor, and an error where they are not of that type. FLOAT16 and BFLOAT16 are read as `f32`, BITS as
/// `bool`.
pub fn decode<'a, T: Element>(tensor: impl Into<Option<&'a Tensor>>) -> Result<ArrayD<T>, Error> {
    let tensor = present(tensor)?;
    let Layout { shape, bytes } = layout(tensor)?;
    let (dtype, data) = (tensor.dtype(), &tensor.data);
    if data.len() != bytes {
        let found = data.len();
        return Err(Error::damaged(format!("{found} bytes, but {dtype:?} of shape {shape:?} takes {bytes}")));
    }
    let values = T::read(dtype, data, &shape)
        .ok_or_else(|| Error::damaged(format!("a tensor of {dtype:?} has no {}", std::any::type_name::<T>())))?;
    ArrayD::from_shape_vec(shape, values).map_err(Error::damaged)
}

fn present<'a>(tensor: impl Into<Option<&'a Tensor>>) -> Result<&'a Tensor, Error> {
    tensor.into().ok_or_else(|| Error::damaged("it has no such tensor"))
}

/// What a tensor can hold, as Rust has it.
pub trait Element: Copy + sealed::Read {}

mod sealed {
    use crate::proto::DType;

    pub trait Read: Sized {
        /// The elements in data whose length fits; None where they are of another type.
        fn read(dtype: DType, data: &[u8], shape: &[usize]) -> Option<Vec<Self>>;
    }
}

macro_rules! element {
    ($($type:ty: $dtype:ident),*) => {
        $(impl Element for $type {}
        impl sealed::Read for $type {
            fn read(dtype: DType, data: &[u8], _: &[usize]) -> Option<Vec<Self>> {
                (dtype == DType::$dtype).then(|| little(data, <$type>::from_le_bytes))
            }
        })*
    };
}
element!(u8: Uint8, i8: Int8, u16: Uint16, i64: Int64);

impl Element for f32 {}
impl sealed::Read for f32 {
    fn read(dtype: DType, data: &[u8], _: &[usize]) -> Option<Vec<Self>> {
        Some(match dtype {
            DType::Float32 => little(data, f32::from_le_bytes),
            DType::Float16 => little(data, |bytes| widened(u16::from_le_bytes(bytes))),
            DType::Bfloat16 => little(data, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
            _ => return None,
        })
    }
}

impl Element for bool {}
impl sealed::Read for bool {
    fn read(dtype: DType, data: &[u8], shape: &[usize]) -> Option<Vec<Self>> {
        match dtype {
            DType::Bool => Some(data.iter().map(|each| *each != 0).collect()),
            DType::Bits => Some(unpacked(data, shape)),
            _ => None,
        }
    }
}

fn little<const N: usize, T>(data: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks().0.iter().map(|each| read(*each)).collect()
}

/// The float32 equal to an IEEE 754 binary16.
pub(crate) fn widened(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    f32::from_bits(
        sign | match exponent {
            // Zero and subnormals: the fraction counts in units of 2^-24, which float32 has exactly.
            0 => (fraction as f32 / (1 << 24) as f32).to_bits(),
            31 => 0x7f80_0000 | fraction << 13,
            _ => (exponent + 112) << 23 | fraction << 13,
        },
    )
}

/// Bits, most significant first, each row of the last axis from a new byte.
fn unpacked(data: &[u8], shape: &[usize]) -> Vec<bool> {
    let columns = shape.last().copied().unwrap_or(1);
    let mut values = Vec::with_capacity(shape.iter().product());
    if columns > 0 {
        for row in data.chunks_exact(columns.div_ceil(8)) {
            values.extend((0..columns).map(|column| row[column / 8] >> (7 - column % 8) & 1 == 1));
        }
    }
    values
}

/// Integers times the factor of their channel: of the last axis, or of the first where the factors' shape says so.
fn scaled(tensor: &Tensor, factors: &Tensor) -> Result<ArrayD<f32>, Error> {
    let integers = decode::<i8>(tensor)?;
    let scale = decode::<f32>(factors)?;
    let (shape, factors) = (integers.shape(), scale.as_slice().unwrap_or_default());
    // Channels x 1 x 1 stand before, channels alone beside the last axis.
    let first = scale.ndim() == shape.len() && shape.len() > 1 && scale.shape()[0] != 1;
    let axis = if first { 0 } else { shape.len().wrapping_sub(1) };
    if shape.get(axis) != Some(&factors.len()) {
        return Err(Error::damaged(format!("{} factors for features of shape {shape:?}", factors.len())));
    }
    // How many elements in a row share a factor.
    let each = if first { shape[1..].iter().product() } else { 1 };
    let mut found = integers.mapv(f32::from);
    let values = found.as_slice_mut().unwrap_or_default();
    if !values.is_empty() {
        for (run, factor) in values.chunks_exact_mut(each).zip(factors.iter().cycle()) {
            run.iter_mut().for_each(|value| *value *= factor);
        }
    }
    Ok(found)
}

/// How a tensor lies in memory.
pub(crate) struct Layout {
    pub shape: Vec<usize>,
    /// Length of its data.
    pub bytes: usize,
}

pub(crate) fn layout(tensor: &Tensor) -> Result<Layout, Error> {
    let width = match tensor.dtype() {
        DType::Int64 => 8,
        DType::Float32 => 4,
        DType::Float16 | DType::Bfloat16 | DType::Uint16 => 2,
        DType::Uint8 | DType::Int8 | DType::Bool | DType::Bits => 1,
        DType::Unspecified => {
            return Err(Error::damaged(format!("a tensor of the unknown element type {}", tensor.dtype)));
        }
    };
    let shape: Vec<usize> = tensor.shape.iter().map(|each| *each as usize).collect();
    let mut stored = shape.clone();
    if let (DType::Bits, Some(last)) = (tensor.dtype(), stored.last_mut()) {
        *last = last.div_ceil(8);
    }
    // Booleans are more than bytes of bits: both numbers must be ones that memory has.
    let fits = |sizes: &[usize], width| sizes.iter().try_fold(width, |size: usize, each| size.checked_mul(*each));
    match (fits(&stored, width), fits(&shape, width)) {
        (Some(bytes), Some(_)) => Ok(Layout { shape, bytes }),
        _ => Err(Error::damaged(format!("a tensor of shape {shape:?}"))),
    }
}
