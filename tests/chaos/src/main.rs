mod diary; mod judge; mod stamp;
fn main() {}
