"""An Odoo server to practise on."""
