// Quantities with a unit. The unit is in the type, the number is an `ExactDecimal`.

/// A number with a unit: values of one unit add and compare, values of different units do not.
public protocol Measure: Hashable, Comparable, Sendable, CustomStringConvertible {
    var value: ExactDecimal { get }
    init(_ value: ExactDecimal)
}

extension Measure {
    public static var zero: Self { Self(.zero) }
    public init?(_ text: some StringProtocol) {
        guard let value = ExactDecimal(text) else { return nil }
        self.init(value)
    }
    public static func < (left: Self, right: Self) -> Bool { left.value < right.value }
    public static func + (left: Self, right: Self) -> Self { Self(left.value + right.value) }
    public static func - (left: Self, right: Self) -> Self { Self(left.value - right.value) }
    public static func += (left: inout Self, right: Self) { left = left + right }
    public static func -= (left: inout Self, right: Self) { left = left - right }
    public var isZero: Bool { value.isZero }
    public var isPositive: Bool { value.isPositive }
    public var description: String { value.description }
}

/// Quote currency per unit of base.
public struct Price: Measure {
    public let value: ExactDecimal
    public init(_ value: ExactDecimal) { self.value = value }
}

/// Units of base (or contracts).
public struct Quantity: Measure {
    public let value: ExactDecimal
    public init(_ value: ExactDecimal) { self.value = value }
}

/// Quote currency.
public struct Money: Measure {
    public let value: ExactDecimal
    public init(_ value: ExactDecimal) { self.value = value }
}

/// A pure fraction: 0.02 is 2 percent.
public struct Rate: Measure {
    public let value: ExactDecimal
    public init(_ value: ExactDecimal) { self.value = value }
}

public func * (price: Price, quantity: Quantity) -> Money { Money(price.value * quantity.value) }
