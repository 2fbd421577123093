// Exact decimal numbers: a whole mantissa and a power of ten.
//
// Invariants: the form is canonical (no trailing zero in the mantissa while `scale` > 0, zero has scale 0), so equal
// numbers are identical values. Nothing here rounds unless a rounding is named, and no binary floating point occurs.
// Limits: mantissas are Int128, scales 0...36. Input is limited to 38 digits when it is parsed; `+ - *` trap on
// overflow, which validated prices and quantities (at most 18 significant digits each, see `fitsMoney`) cannot reach.
// Cost: O(1) apart from text.

/// How a quotient that is no multiple of the wanted step is made one.
public enum Rounding: Sendable {
    /// Towards minus infinity.
    case floor
    /// Towards plus infinity.
    case ceiling
    /// To the nearest, ties to the even multiple.
    case halfEven
}

/// An exact decimal number: `mantissa` x 10^-`scale`.
public struct ExactDecimal: Hashable, Sendable {
    public var mantissa: Int128 { Int128(high) << 64 | Int128(low) }
    // Two halves, because Int128 is aligned to 16 bytes and Swift 6.3 misplaces such values in the frames of async
    // functions; it also makes the number 8 bytes smaller.
    private let high: Int64
    private let low: UInt64
    /// Decimal places, 0...36.
    public let scale: UInt8

    public static let zero = ExactDecimal(0)
    public static let one = ExactDecimal(1)
    /// The most digits that a parsed number may have.
    public static let maximumDigits = 38
    static let maximumScale = 36

    /// `mantissa` x 10^-`scale`, brought into canonical form. Traps when `scale` is not in 0...36.
    public init(mantissa: Int128, scale: Int) {
        precondition(scale >= 0 && scale <= Self.maximumScale, "scale out of range")
        var mantissa = mantissa
        var scale = scale
        if mantissa == 0 { scale = 0 }
        if let small = Int64(exactly: mantissa) {
            // 64-bit division is many times cheaper, and nearly every value is small.
            var small = small
            while scale > 0, small % 10 == 0 {
                small /= 10
                scale -= 1
            }
            mantissa = Int128(small)
        } else {
            while scale > 0, mantissa % 10 == 0 {
                mantissa /= 10
                scale -= 1
            }
        }
        high = Int64(truncatingIfNeeded: mantissa >> 64)
        low = UInt64(truncatingIfNeeded: mantissa)
        self.scale = UInt8(scale)
    }

    public init(_ whole: Int) {
        high = whole < 0 ? -1 : 0
        low = UInt64(bitPattern: Int64(whole))
        scale = 0
    }

    /// Reads `[+-]digits[.digits]`. Nil for anything else, for more than 38 digits, and for more than 36 decimals.
    public init?(_ text: some StringProtocol) {
        self.init(utf8: text.utf8)
    }

    /// Reads the same from bytes, without making a string.
    public init?(utf8 bytes: some Sequence<UInt8>) {
        var mantissa: Int128 = 0
        var digits = 0
        var decimals = 0
        var sawPoint = false
        var sawDigit = false
        var isNegative = false
        var isFirst = true
        for byte in bytes {
            defer { isFirst = false }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                sawDigit = true
                if digits > 0 || byte != UInt8(ascii: "0") { digits += 1 }
                guard digits <= Self.maximumDigits else { return nil }
                mantissa = mantissa * 10 + Int128(byte - UInt8(ascii: "0"))
                if sawPoint {
                    decimals += 1
                    guard decimals <= Self.maximumScale else { return nil }
                }
            case UInt8(ascii: "."):
                guard !sawPoint, sawDigit else { return nil }
                sawPoint = true
            case UInt8(ascii: "-") where isFirst: isNegative = true
            case UInt8(ascii: "+") where isFirst: break
            default: return nil
            }
        }
        guard sawDigit, !sawPoint || decimals > 0 else { return nil }
        self.init(mantissa: isNegative ? -mantissa : mantissa, scale: decimals)
    }

    /// 10^`exponent` for 0...38.
    static func powerOfTen(_ exponent: Int) -> Int128 {
        powersOfTen[exponent]
    }

    private static let powersOfTen: [Int128] = {
        var powers: [Int128] = [1]
        for _ in 1...38 { powers.append(powers[powers.count - 1] * 10) }
        return powers
    }()

    /// The mantissa of this number at a scale that is at least its own. Traps on overflow.
    func mantissa(atScale wanted: Int) -> Int128 {
        mantissa * Self.powerOfTen(wanted - Int(scale))
    }

    /// This number in units of 10^-`decimals`, or nil when it is no whole number of them or does not fit.
    public func units(decimals: Int) -> Int64? {
        guard Int(scale) <= decimals, decimals - Int(scale) <= 38 else { return nil }
        let (value, overflow) = mantissa.multipliedReportingOverflow(by: Self.powerOfTen(decimals - Int(scale)))
        return overflow ? nil : Int64(exactly: value)
    }

    public var isZero: Bool { high == 0 && low == 0 }
    public var isPositive: Bool { high > 0 || (high == 0 && low > 0) }
    public var isNegative: Bool { high < 0 }
    public var magnitude: ExactDecimal { isNegative ? -self : self }

    /// Whether products of this number with another such number stay exact: at most 18 significant digits and 18
    /// decimals. Every price and quantity that enters the system is checked against it.
    public var fitsMoney: Bool {
        mantissa.magnitude < 1_000_000_000_000_000_000 && scale <= 18
    }
}

extension ExactDecimal: Comparable {
    public static func < (left: ExactDecimal, right: ExactDecimal) -> Bool {
        if left.scale == right.scale { return left.mantissa < right.mantissa }
        // Cross-multiplied in 256 bits: no pair of values overflows.
        let scale = Swift.max(left.scale, right.scale)
        let a = left.mantissa.multipliedFullWidth(by: powerOfTen(Int(scale - left.scale)))
        let b = right.mantissa.multipliedFullWidth(by: powerOfTen(Int(scale - right.scale)))
        return (a.high, a.low) < (b.high, b.low)
    }
}

extension ExactDecimal {
    public static func + (left: ExactDecimal, right: ExactDecimal) -> ExactDecimal {
        let scale = Int(Swift.max(left.scale, right.scale))
        return ExactDecimal(mantissa: left.mantissa(atScale: scale) + right.mantissa(atScale: scale), scale: scale)
    }

    public static prefix func - (value: ExactDecimal) -> ExactDecimal {
        ExactDecimal(mantissa: -value.mantissa, scale: Int(value.scale))
    }

    public static func - (left: ExactDecimal, right: ExactDecimal) -> ExactDecimal {
        left + (-right)
    }

    public static func * (left: ExactDecimal, right: ExactDecimal) -> ExactDecimal {
        ExactDecimal(mantissa: left.mantissa * right.mantissa, scale: Int(left.scale) + Int(right.scale))
    }

    public static func += (left: inout ExactDecimal, right: ExactDecimal) { left = left + right }
    public static func -= (left: inout ExactDecimal, right: ExactDecimal) { left = left - right }

    /// `numerator / denominator` as a multiple of `step`, rounded as named. Exact in between (256 bits).
    ///
    /// Traps when `denominator` or `step` is not positive, or when the result does not fit.
    public static func quotient(
        _ numerator: ExactDecimal,
        over denominator: ExactDecimal,
        step: ExactDecimal,
        _ rounding: Rounding,
    ) -> ExactDecimal {
        precondition(denominator.isPositive && step.isPositive, "denominator and step are positive")
        // numerator / (denominator * step) as a whole number, then times step.
        let divisor = denominator * step
        let shift = Int(divisor.scale) - Int(numerator.scale)
        var count: Int128
        if shift >= 0 {
            count = divide(numerator.mantissa, times: powerOfTen(shift), by: divisor.mantissa, rounding)
        } else {
            let (widened, overflow) = divisor.mantissa.multipliedReportingOverflow(by: powerOfTen(-shift))
            precondition(!overflow, "quotient out of range")
            count = divide(numerator.mantissa, times: 1, by: widened, rounding)
        }
        let product = step.mantissa.multipliedReportingOverflow(by: count)
        precondition(!product.overflow, "quotient out of range")
        count = product.partialValue
        return ExactDecimal(mantissa: count, scale: Int(step.scale))
    }

    /// `a x b / denominator` as a multiple of `step`. The product is exact in 256 bits, however long its factors are.
    ///
    /// Traps when `denominator` or `step` is not positive, or when the result does not fit.
    public static func quotient(
        _ a: ExactDecimal,
        times b: ExactDecimal,
        over denominator: ExactDecimal,
        step: ExactDecimal,
        _ rounding: Rounding,
    ) -> ExactDecimal {
        precondition(denominator.isPositive && step.isPositive, "denominator and step are positive")
        let (short, overflow) = a.mantissa.multipliedReportingOverflow(by: b.mantissa)
        let scale = Int(a.scale) + Int(b.scale)
        if !overflow, scale <= maximumScale {
            return quotient(ExactDecimal(mantissa: short, scale: scale), over: denominator, step: step, rounding)
        }
        let divisor = denominator * step
        let shift = Int(divisor.scale) - scale
        var factor = b.mantissa
        var below = divisor.mantissa
        if shift > 0 { factor *= powerOfTen(shift) } else { below *= powerOfTen(-shift) }
        let count = divide(a.mantissa, times: factor, by: below, rounding)
        return ExactDecimal(mantissa: count * step.mantissa, scale: Int(step.scale))
    }

    /// This number as a multiple of `step`.
    public func rounded(toMultipleOf step: ExactDecimal, _ rounding: Rounding) -> ExactDecimal {
        Self.quotient(self, over: .one, step: step, rounding)
    }

    /// Whether this number is a whole multiple of `step` (which is positive).
    public func isMultiple(of step: ExactDecimal) -> Bool {
        rounded(toMultipleOf: step, .floor) == self
    }

    /// This number at `decimals` places, half-even.
    public func rounded(decimals: Int) -> ExactDecimal {
        Int(scale) <= decimals
            ? self : rounded(toMultipleOf: ExactDecimal(mantissa: 1, scale: decimals), .halfEven)
    }

    private static func divide(
        _ value: Int128,
        times factor: Int128,
        by divisor: Int128,
        _ rounding: Rounding,
    ) -> Int128 {
        let isNegative = (value < 0) != (factor < 0)
        let wide = value.magnitude.multipliedFullWidth(by: factor.magnitude)
        let (quotient, remainder) = divisor.magnitude.dividingFullWidth((wide.high, wide.low))
        var count = quotient
        if remainder != 0 {
            switch rounding {
            case .floor: if isNegative { count += 1 }
            case .ceiling: if !isNegative { count += 1 }
            case .halfEven:
                let rest = divisor.magnitude - remainder
                if remainder > rest || (remainder == rest && count & 1 == 1) { count += 1 }
            }
        }
        return isNegative ? -Int128(count) : Int128(count)
    }
}

extension ExactDecimal: CustomStringConvertible {
    /// Plain digits: no exponent, no trailing zeros, no plus sign.
    public var description: String {
        let digits = String(mantissa.magnitude)
        let sign = isNegative ? "-" : ""
        let places = Int(scale)
        if places == 0 { return sign + digits }
        if digits.utf8.count <= places {
            return sign + "0." + String(repeating: "0", count: places - digits.utf8.count) + digits
        }
        return sign + digits.dropLast(places) + "." + digits.suffix(places)
    }
}
