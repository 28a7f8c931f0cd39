//! From the checked model to code. Nothing here can fail.
//!
//! Everything is named by an absolute path through the crate, and what the functions call their own has a span of its
//! own, so that nothing in the user's scope matters, and the user's expressions see nothing of ours.

use super::parse::{self, Root};
use crate::expand::ends;
use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};

/// The code for `group`.
pub(crate) fn group(group: &parse::Group) -> TokenStream {
    let code = Code::new(group);
    let (each, functions) = (code.each(), code.functions());
    quote! {
        #[allow(deprecated)]
        const _: () = {
            #each
            #functions
        };
    }
}

/// The functions after a mistake, so that the compiler does not miss them too.
pub(crate) fn stand_in(group: &parse::Group) -> TokenStream {
    let code = Code::new(group);
    let endless = || quote!(loop {});
    code.inherent(&quote!(&[]), [endless(), endless(), endless(), endless()])
}

/// What all parts of the code need.
struct Code<'g> {
    group: &'g parse::Group,
    /// The crate.
    krate: TokenStream,
    /// What it exports for this code.
    roots: TokenStream,
    /// `core`.
    core: TokenStream,
    /// The name of the functions' parameter.
    segment: Ident,
}

impl<'g> Code<'g> {
    fn new(group: &'g parse::Group) -> Self {
        let krate = match &group.krate {
            Some(path) => path.to_token_stream(),
            None => quote!(::shmem_core),
        };
        let (roots, core) = (quote!(#krate::__private::roots), quote!(#krate::__private::core));
        let segment = Ident::new("segment", Span::mixed_site());
        Code { group, krate, roots, core, segment }
    }

    /// `function` of what the root's type is and is given, all of it at the place of the type: if the two do not fit,
    /// this is where every message points, and the compiler shows equal ones once.
    fn function(&self, root: &Root, function: &str) -> TokenStream {
        let ty = &root.ty;
        let (start, end) = ends(&ty.to_token_stream());
        let way = match (&root.len, &root.init) {
            (Some(_), _) => "ByLen",
            (None, Some(_)) => "ByInit",
            (None, None) => "ByDefault",
        };
        let key = if root.unique.is_some() { "Unique" } else { "Named" };
        let [way, key] = [way, key].map(|name| Ident::new(name, start));
        let function = Ident::new(function, end);
        let roots = self.roots_at(start);
        let way = quote_spanned!(start=> #roots::#way<#roots::#key>);
        let field = quote_spanned!(start=> < <#ty as #roots::RootField);
        quote_spanned!(end=> #field>::Kind as #way>::#function)
    }

    /// The function that destroys the root.
    fn destroy(&self, root: &Root) -> TokenStream {
        let ty = &root.ty;
        let (start, end) = ends(&ty.to_token_stream());
        let roots = self.roots_at(start);
        let open = quote_spanned!(start=> <#ty as #roots::RootField);
        quote_spanned!(end=> #open>::destroy)
    }

    /// `roots`, for code that the compiler is to show at `span`: no part of it may have another origin, or the compiler
    /// would show the derive instead.
    fn roots_at(&self, span: Span) -> TokenStream {
        match &self.group.krate {
            Some(path) => {
                let path = shown_at(path.to_token_stream(), span);
                quote_spanned!(span=> #path::__private::roots)
            }
            None => quote_spanned!(span=> ::shmem_core::__private::roots),
        }
    }

    /// Where a root is, shown as its whole type.
    fn at(&self, root: &Root) -> TokenStream {
        let (core, segment) = (&self.core, &self.segment);
        let name = match self.group.name_of(root) {
            Some((name, _)) => quote!(#core::option::Option::Some(#name)),
            None => quote!(#core::option::Option::None),
        };
        let (start, end) = ends(&root.ty.to_token_stream());
        let roots = self.roots_at(start);
        let fields = quote_spanned!(end=> { segment: #segment, name: #name });
        quote_spanned!(start=> #roots::At #fields)
    }

    /// The function that goes through the roots.
    fn each(&self) -> TokenStream {
        let (krate, roots, core, segment) = (&self.krate, &self.roots, &self.core, &self.segment);
        let mode = Ident::new("__mode", Span::mixed_site());
        let fields: Vec<_> = self.group.roots().iter().map(|root| &root.field).collect();
        let made: Vec<_> = (0..)
            .zip(self.group.roots())
            .map(|(i, root): (usize, _)| {
                let (start, _) = ends(&root.ty.to_token_stream());
                format_ident!("__root_{i}", span = Span::mixed_site().located_at(start))
            })
            .collect();
        let lets = self.group.roots().iter().zip(&made).map(|(root, made)| {
            let (_, end) = ends(&root.ty.to_token_stream());
            let mode = shown_at(mode.to_token_stream(), end);
            let (at, function) = (self.at(root), |name| self.function(root, name));
            let made = quote!(let #made);
            match (&root.len, &root.init) {
                (Some(len), Some(each)) => {
                    let get = function("get");
                    quote_spanned!(end=> #made = #get(#at, #mode, #len, #each)?;)
                }
                (Some(len), None) => {
                    let get = function("get_default");
                    quote_spanned!(end=> #made = #get(#at, #mode, #len)?;)
                }
                (None, None) => {
                    let get = function("get");
                    quote_spanned!(end=> #made = #get(#at, #mode)?;)
                }
                (None, Some(init)) => {
                    let (find, construct) = (function("find"), function("construct"));
                    let [some, none] = ["Some", "None"].map(|name| {
                        let name = Ident::new(name, Span::call_site());
                        quote!(#core::option::Option::#name)
                    });
                    let found = Ident::new("__found", Span::mixed_site());
                    let (find, construct) = (
                        quote_spanned!(end=> #find(#at, #mode)?),
                        quote_spanned!(end=> #construct(#at, #mode, #init)?),
                    );
                    quote! {
                        #made = match #find {
                            #some(#found) => #found,
                            #none => #construct,
                        };
                    }
                }
            }
        });
        let (name, clause) = (&self.group.name, &self.group.generics.where_clause);
        quote! {
            #[automatically_derived]
            impl #roots::Group for #name #clause {
                fn each(#segment: &#krate::Segment, #mode: #roots::Mode) -> #krate::Result<Self> {
                    let _ = (#segment, #mode);
                    #(#lets)*
                    #core::result::Result::Ok(Self { #(#fields: #made.keep()),* })
                }
            }
        }
    }

    /// The functions of the struct.
    fn functions(&self) -> TokenStream {
        let (roots, core, segment) = (&self.roots, &self.core, &self.segment);
        let names = self.group.roots().iter().filter_map(|root| Some(self.group.name_of(root)?.0));
        let [open_or_create, open, create] = ["OpenOrCreate", "Open", "Create"].map(|mode| {
            let mode = Ident::new(mode, Span::call_site());
            quote!(<Self as #roots::Group>::each(#segment, #roots::Mode::#mode))
        });
        let count = Ident::new("__count", Span::mixed_site());
        let destroyed = self.group.roots().iter().map(|root| {
            let (destroy, at) = (self.destroy(root), self.at(root));
            let (_, end) = ends(&root.ty.to_token_stream());
            let destroyed = quote_spanned!(end=> #destroy(#at)?);
            quote!(#count += #destroyed as #core::primitive::usize;)
        });
        let destroy = quote! {
            let _ = #segment;
            #[allow(unused_mut)]
            let mut #count: #core::primitive::usize = 0;
            #(#destroyed)*
            #core::result::Result::Ok(#count)
        };
        self.inherent(&quote!(&[#(#names),*]), [open_or_create, open, create, destroy])
    }

    /// The functions with these bodies.
    fn inherent(&self, names: &TokenStream, bodies: [TokenStream; 4]) -> TokenStream {
        let (krate, core, segment, vis) = (&self.krate, &self.core, &self.segment, &self.group.vis);
        let (params, args, clause) = self.group.generics.split_for_impl();
        let [open_or_create, open, create, destroy] = bodies;
        let name = &self.group.name;
        quote! {
            #[allow(dead_code)]
            #[automatically_derived]
            impl #params #name #args #clause {
                /// The names of the group's roots, in the order of the fields. What is found by its type has none.
                #vis const NAMES: &'static [&'static #core::primitive::str] = #names;

                /// Finds every root, and constructs those that are not there, in the order of the fields.
                ///
                /// Each is constructed by itself: of several processes that race for it exactly one builds it, and
                /// the others wait. If one fails, those before it stay, and are found the next time.
                ///
                /// # Errors
                /// Those of `Segment::find_or_construct` for the first root that fails: its name is in them.
                #vis fn open_or_create(#segment: &#krate::Segment) -> #krate::Result<Self> {
                    #open_or_create
                }

                /// Finds every root; constructs none.
                ///
                /// # Errors
                /// `NameError::NotFound` with the name of the first one that is not there, and those of
                /// `Segment::find`.
                #vis fn open(#segment: &#krate::Segment) -> #krate::Result<Self> {
                    #open
                }

                /// Constructs every root, in the order of the fields. If one fails or panics, those before it are
                /// destroyed again.
                ///
                /// # Errors
                /// `NameError::AlreadyExists` with the name of the first one that is there already, and those of
                /// `Segment::construct`.
                ///
                /// # Crash safety
                /// If this process dies inside, the roots that it has constructed stay.
                #vis fn create(#segment: &#krate::Segment) -> #krate::Result<Self> {
                    #create
                }

                /// Destroys every root that is there, in the order of the fields; how many there were. The names go
                /// at once, each object with the last handle to it.
                ///
                /// # Errors
                /// Those of `Segment::destroy` for the first root that fails; those before it are gone.
                #vis fn destroy(#segment: &#krate::Segment) -> #krate::Result<#core::primitive::usize> {
                    #destroy
                }
            }
        }
    }
}

/// `tokens`, shown at `span`: what they mean is not changed.
fn shown_at(tokens: TokenStream, span: Span) -> TokenStream {
    let shown = |mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    };
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Group(group) => {
                let inner = shown_at(group.stream(), span);
                shown(TokenTree::Group(Group::new(group.delimiter(), inner)))
            }
            other => shown(other),
        })
        .collect()
}
