//! What the derive writes for three types, kept as readable files in `snapshots`, so that a change of the code shows what it
//! changes in the expansion. `SNAPSHOTS=overwrite cargo test -p shmem-derive` writes them anew.

use syn::{DeriveInput, File, Item, parse_quote};

/// Compares the expansion of `input` with the file of that name.
fn compare(name: &str, input: DeriveInput) {
    let expanded: File =
        syn::parse2(crate::expanded(input.clone())).expect("the expansion is a list of items");
    let original =
        File { shebang: None, attrs: Vec::new(), items: vec![Item::from(input)], frontmatter: None };
    let text = format!(
        "{}\n// expands to\n\n{}",
        prettyplease::unparse(&original),
        prettyplease::unparse(&expanded)
    );
    let path = format!("{}/snapshots/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::write(&path, &text).expect("a writable snapshot");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    for (i, (new, old)) in text.lines().zip(kept.lines()).enumerate() {
        assert_eq!(new, old, "{name}.rs:{}: the expansion has changed; see the top of snapshots.rs", i + 1);
    }
    assert_eq!(text.lines().count(), kept.lines().count(), "{name}.rs: the expansion has changed");
}

#[test]
fn a_struct() {
    let account = parse_quote! {
        /// An account.
        #[derive(ShmSafe)]
        #[repr(C)]
        pub struct Account<T> {
            pub owner: ShmString,
            balance: i64,
            history: ShmVec<T>,
        }
    };
    compare("struct", account);
}

#[test]
fn an_enum() {
    let job = parse_quote! {
        #[derive(ShmSafe)]
        #[shm(hash)]
        #[repr(u8)]
        enum Job {
            Idle,
            Running { id: u64, name: ShmString },
            Failed(ShmString) = 9,
        }
    };
    compare("enum", job);
}

#[test]
fn a_mirror() {
    let order = parse_quote! {
        #[derive(ShmSafe)]
        #[shm(mirror = ShmOrder, derive(Debug))]
        struct Order<T> {
            symbol: String,
            fills: Vec<(T, u64)>,
            next: Option<Box<Order<T>>>,
            #[shm(skip)]
            cache: Vec<u8>,
        }
    };
    compare("mirror", order);
}
