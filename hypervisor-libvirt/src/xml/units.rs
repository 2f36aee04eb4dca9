//! Sizes as libvirt writes them: a number and a unit.

use super::element::{Element, XmlError};

/// How many bytes one of `unit` is; the names are those that libvirt reads.
fn factor(unit: &str) -> Option<u64> {
    let bytes = match unit {
        "" | "b" | "byte" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "K" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "m" | "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "g" | "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "t" | "T" | "TiB" => 1 << 40,
        "PB" => 1_000_000_000_000_000,
        "p" | "P" | "PiB" => 1 << 50,
        "EB" => 1_000_000_000_000_000_000,
        "e" | "E" | "EiB" => 1 << 60,
        _ => return None,
    };
    Some(bytes)
}

impl Element {
    /// The element's text as a number.
    ///
    /// # Errors
    /// When there is no number, or one that does not fit.
    pub fn number(&self) -> Result<u64, XmlError> {
        let text = self.text();
        text.trim()
            .parse()
            .map_err(|error| XmlError::new(format!("<{}>: `{text}` is not a number: {error}", self.name)))
    }

    /// The element's text and its `unit` attribute as bytes; `default_unit` is what libvirt means without one.
    ///
    /// # Errors
    /// When there is no number, the unit is unknown, or the product does not fit into 64 bits.
    pub fn bytes(&self, default_unit: &str) -> Result<u64, XmlError> {
        let unit = self.attr("unit").unwrap_or(default_unit);
        let factor = factor(unit)
            .ok_or_else(|| XmlError::new(format!("<{}>: `{unit}` is not a unit of size", self.name)))?;
        let number = self.number()?;
        number.checked_mul(factor).ok_or_else(|| {
            XmlError::new(format!("<{}>: {number} {unit} does not fit into 64 bits", self.name))
        })
    }

    /// The first child of this name as bytes, where there is one.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    pub fn child_bytes(&self, name: &str, default_unit: &str) -> Result<Option<u64>, XmlError> {
        self.child(name).map(|child| child.bytes(default_unit)).transpose()
    }

    /// An attribute as a number, where there is one.
    ///
    /// # Errors
    /// When it is not a number, or one that does not fit.
    pub fn attr_number<N>(&self, name: &str) -> Result<Option<N>, XmlError>
    where
        N: std::str::FromStr,
        N::Err: std::fmt::Display,
    {
        let parse = |value: &str| {
            value.trim().parse().map_err(|error| {
                XmlError::new(format!("<{} {name}>: `{value}` is not a number: {error}", self.name))
            })
        };
        self.attr(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(xml: &str, default_unit: &str) -> Result<u64, XmlError> {
        Element::parse(xml).unwrap().bytes(default_unit)
    }

    #[test]
    fn units_are_libvirts() {
        assert_eq!(bytes("<memory unit='KiB'>1024</memory>", "KiB").unwrap(), 1 << 20);
        assert_eq!(bytes("<memory> 2 </memory>", "KiB").unwrap(), 2048);
        assert_eq!(bytes("<capacity>7</capacity>", "bytes").unwrap(), 7);
        assert_eq!(bytes("<capacity unit='GB'>3</capacity>", "bytes").unwrap(), 3_000_000_000);
        assert_eq!(bytes("<capacity unit='G'>3</capacity>", "bytes").unwrap(), 3 << 30);
    }

    #[test]
    fn what_is_no_size_is_an_error() {
        for bad in ["<m unit='parsec'>1</m>", "<m/>", "<m>-1</m>", "<m>1.5</m>", "<m unit='EiB'>99</m>"] {
            assert!(bytes(bad, "KiB").is_err(), "{bad}");
        }
    }
}
